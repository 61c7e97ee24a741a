//! Why nobody lets a client in, or it trusts nobody.

use rdkafka::types::RDKafkaErrorCode as Code;

/// What is wrong, in words, if it is so until somebody changes settings, here or at the broker; `None` if it may pass.
pub(super) fn refusal(code: Code, reason: &str) -> Option<String> {
    match code {
        // Of a certificate of another host librdkafka says no more than of one that somebody else has signed.
        Code::SSL if reason.contains("certificate verify failed") => Some(format!(
            "the broker's certificate is signed by none whom this client trusts (`ssl.ca.location`), or names another host: \
             {reason}"
        )),
        Code::SSL => Some(format!("this client and the broker cannot encrypt together: {reason}")),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            Some(format!("the broker refuses this client: {reason}"))
        }
        _ => None,
    }
}

/// What librdkafka logs of a connection that fails, if it does: of one that the other side has closed it says nothing else.
pub(super) fn failure<'a>(facility: &str, message: &'a str) -> Option<&'a str> {
    // As in "[thrd:one:9092/bootstrap]: one:9092/bootstrap: Disconnected".
    (facility == "FAIL").then(|| message.split_once("]: ").map_or(message, |(_, reason)| reason))
}

/// What may be set wrong if nobody answers for this reason: a broker hangs up on who talks otherwise than its listener does.
pub(super) fn advice(reason: &str) -> &'static str {
    const EARLY: [&str; 3] = ["SSL_HANDSHAKE", "APIVERSION_QUERY", "UP"];
    match EARLY.iter().any(|state| reason.contains(&format!("in state {state}"))) {
        true => ": is `security.protocol` that of the broker's listener?",
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_hung_up_on_is_advised() {
        assert!(advice("a:1: Disconnected (after 7ms in state UP)").contains("security.protocol"));
        assert_eq!("", advice("a:1: Connection refused (after 0ms in state CONNECT)"));
    }

    #[test]
    fn a_failure_is_told_without_its_thread() {
        assert_eq!(Some("a:1: Disconnected"), failure("FAIL", "[thrd:a:1]: a:1: Disconnected"));
        assert_eq!(None, failure("CONNECT", "[thrd:a:1]: a:1: Connecting"));
    }

    #[test]
    fn a_refusal_says_who_refuses_whom_and_what_may_pass_is_none() {
        for (code, reason, said) in [
            (Code::Authentication, "no", Some("the broker refuses this client: no")),
            (Code::SSL, "no", Some("this client and the broker cannot encrypt together: no")),
            (Code::BrokerTransportFailure, "no", None),
        ] {
            assert_eq!(said, refusal(code, reason).as_deref());
        }
        let said = refusal(Code::SSL, "certificate verify failed").expect("it stays so");
        assert!(said.contains("names another host: certificate verify failed"), "{said}");
    }
}
