//! [`Octets`]: bytes of the command line in hexadecimal, as `sha256sum` and tpm2-tools print them.

use std::fmt;
use std::str::FromStr;

/// Bytes that are read and printed in hexadecimal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Octets {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Option<Vec<_>> = text.chars().map(|letter| letter.to_digit(16)).collect();
        let digits = digits.ok_or("not hexadecimal")?;
        let (pairs, []) = digits.as_chunks::<2>() else {
            return Err("an odd number of hexadecimal digits");
        };
        let byte = |[high, low]: &[u32; 2]| u8::try_from(high << 4 | low).ok();
        let bytes: Option<_> = pairs.iter().map(byte).collect();
        bytes.map(Self).ok_or("not hexadecimal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_prints() {
        let all: Vec<_> = (0..=255).collect();
        let text = Octets(all.clone()).to_string();
        assert_eq!(text.parse(), Ok(Octets(all.clone())));
        assert_eq!(text.to_uppercase().parse(), Ok(Octets(all)));
        for wrong in ["0", "0g", "0x00", "é0", " 00"] {
            assert!(wrong.parse::<Octets>().is_err(), "{wrong}");
        }
    }
}
