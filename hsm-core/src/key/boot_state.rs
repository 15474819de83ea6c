//! [`PcrSelection`]: which registers of a TPM say in what state the machine was started.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, invalid};

/// A set of platform configuration registers (PCRs) of a TPM: at least one of the numbers 0 to 23.
///
/// The registers hold digests of what the machine ran when it started: firmware in 0 to 7, the boot loader and the system in
/// those after (TCG PC Client Platform Firmware Profile, section 3.3.4). A key that is made
/// [`in_boot_state`](crate::KeySpec::in_boot_state) works only while the registers hold what they held then.
///
/// ```
/// use hsm_core::PcrSelection;
///
/// let secure_boot: PcrSelection = "0,7".parse()?;
/// assert_eq!(secure_boot, PcrSelection::of(&[7, 0])?);
/// assert_eq!(secure_boot.to_string(), "0,7");
/// assert!("24".parse::<PcrSelection>().is_err());
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct PcrSelection(u32);

impl PcrSelection {
    /// The registers with these numbers.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for none, and for a number above 23.
    pub fn of(numbers: &[u8]) -> Result<Self> {
        let mut bits = 0;
        for number in numbers {
            if *number >= COUNT {
                return Err(invalid(format!(
                    "a TPM has the PCRs 0 to {}, not {number}",
                    COUNT - 1
                )));
            }
            bits |= 1 << number;
        }
        Self::from_bits(bits).ok_or_else(|| invalid("there must be at least one PCR"))
    }

    /// Whether the register with this number is in the set.
    #[must_use]
    pub const fn contains(self, number: u8) -> bool {
        number < COUNT && self.0 & (1 << number) != 0
    }

    /// The numbers of the registers, in their order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..COUNT).filter(move |number| self.contains(*number))
    }

    /// The set as 24 bits, register 0 the lowest, for encodings.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set that [`bits`](Self::bits) made; nothing if there is no register in it, or a bit that stands for none.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits != 0 && bits >> COUNT == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }
}

/// The numbers, with commas between.
impl fmt::Display for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, number) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{number}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PcrSelection({self})")
    }
}

/// As it is displayed.
impl FromStr for PcrSelection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Result<Vec<u8>, _> = text.split(',').map(str::parse).collect();
        let numbers = numbers.map_err(|_| {
            invalid("PCRs are numbers from 0 to 23 with commas between, such as 0,2,7")
        })?;
        Self::of(&numbers)
    }
}

/// Registers of a TPM for a PC.
const COUNT: u8 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_as_they_are_shown() {
        for bits in [1, 0x81, 0x80_0000, 0xff_ffff] {
            let set = PcrSelection::from_bits(bits).unwrap();
            assert_eq!(set.bits(), bits);
            assert_eq!(set.to_string().parse::<PcrSelection>().unwrap(), set);
            assert_eq!(
                PcrSelection::of(&set.iter().collect::<Vec<_>>()).unwrap(),
                set
            );
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "24", "-1", "0,,1", "0 1", "256"] {
            assert!(text.parse::<PcrSelection>().is_err(), "{text}");
        }
        assert!(PcrSelection::of(&[]).is_err());
        assert_eq!(PcrSelection::from_bits(0), None);
        assert_eq!(PcrSelection::from_bits(1 << 24), None);
    }
}
