//! How a process ends.

use std::io::Write;

/// Ends the process with an exit code.
///
/// Where a client of Kafka may still encrypt on threads of its own, which take their time to go, nothing that is to be done at
/// exits is done: OpenSSL would take away what they use, and the process would end with a segmentation fault.
pub(crate) fn exit(code: i32) -> ! {
    if encrypts() {
        // Without a reader there is nobody to tell.
        let _ = std::io::stdout().flush();
        signal_hook::low_level::exit(code)
    }
    std::process::exit(code)
}

/// Whether a client of Kafka may encrypt now.
pub(crate) fn encrypts() -> bool {
    #[cfg(feature = "kafka-tls")]
    return tidewatch_connectors::kafka::has_clients();
    #[cfg(not(feature = "kafka-tls"))]
    false
}
