//! The secret that the processes of a cluster share.

use std::fmt;

use crate::Error;

/// The environment variable that holds the secret.
pub const SECRET: &str = "TIDEWATCH_SECRET";

/// What a process must know to join a cluster; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// What every process knows: it keeps out mistakes, not people. For one machine.
    pub const NONE: Self = Self([0; 32]);

    /// A new one from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// If the operating system has none.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|source| Error::Io { what: "random numbers".to_owned(), source: source.into() })?;
        Ok(Self(bytes))
    }

    /// The one that 64 hexadecimal digits spell.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`], which does not show the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let digits: Option<Vec<u32>> = text.trim().chars().map(|digit| digit.to_digit(16)).collect();
        let bytes: Vec<u8> = digits
            .filter(|digits| digits.len() == 64)
            .map(|digits| digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
            .unwrap_or_default();
        let secret = bytes.try_into().ok().map(Self).filter(|secret| *secret != Self::NONE);
        secret.ok_or_else(|| {
            let form = "64 hexadecimal digits, not all of them 0, as `openssl rand -hex 32` prints";
            Error::Usage(format!("the environment variable {SECRET} must be {form}"))
        })
    }

    /// The digits that [`Secret::parse`] reads.
    pub(crate) fn spell(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_spelled_and_parsed_and_never_shown() {
        let secret = Secret::random().expect("there are random numbers");
        assert_eq!(secret, Secret::parse(&format!("{}\n", secret.spell())).expect("it is right"));
        assert_eq!("Secret(..)", format!("{secret:?}"));
        for wrong in
            ["", "abc", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66), &"é".repeat(64), &"0".repeat(64)]
        {
            let error = Secret::parse(wrong).expect_err(wrong).to_string();
            assert!(wrong.is_empty() || !error.contains(&format!("\"{wrong}\"")), "{error}");
        }
    }
}
