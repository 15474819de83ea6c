//! [`SecretBytes`]: bytes that are wiped when dropped and cannot be printed, copied or compared by accident.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Secret bytes of a fixed length: zeroized on drop, with no `Clone`, no `PartialEq` and no `Debug` of the contents.
///
/// The only way to the bytes is [`expose`](Self::expose), so a reviewer can search for it. Comparison goes through
/// [`subtle::ConstantTimeEq`].
///
/// The bytes live on the heap and do not move when the value moves. They are not locked into memory; a device keeps
/// its own root in memory that is.
///
/// ```
/// use hsm_core::SecretBytes;
///
/// let secret = SecretBytes::init_with(32, |bytes| bytes.fill(7));
/// assert_eq!(secret.expose(), [7; 32]);
/// assert_eq!(format!("{secret:?}"), "SecretBytes(32 bytes)");
/// ```
///
/// What would leak does not compile. `==` stops at the first byte that differs:
///
/// ```compile_fail,E0369
/// # use hsm_core::SecretBytes;
/// # let (a, b) = (SecretBytes::copy_from(b"a"), SecretBytes::copy_from(b"b"));
/// let same = a == b;
/// ```
///
/// A copy is one more place to wipe:
///
/// ```compile_fail,E0599
/// # use hsm_core::SecretBytes;
/// # let secret = SecretBytes::copy_from(b"secret");
/// let copy = secret.clone();
/// ```
///
/// A secret has no text, and bytes are not taken from it by the way:
///
/// ```compile_fail,E0277
/// # use hsm_core::SecretBytes;
/// # let secret = SecretBytes::copy_from(b"secret");
/// println!("{secret}");
/// ```
///
/// ```compile_fail,E0308
/// # use hsm_core::SecretBytes;
/// # let secret = SecretBytes::copy_from(b"secret");
/// let bytes: &[u8] = &secret;
/// ```
///
/// Nor is what holds one compared, such as [`Credentials`](crate::Credentials), [`Request`](crate::Request) and
/// [`Response`](crate::Response):
///
/// ```compile_fail,E0369
/// # use hsm_core::Credentials;
/// # let login = || Credentials::password("app", "correct horse battery").unwrap();
/// let same = login() == login();
/// ```
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// Makes a secret of `len` bytes that `fill` writes in place, so that construction leaves no copy.
    pub fn init_with(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = vec![0; len].into_boxed_slice();
        fill(&mut bytes);
        Self(bytes)
    }

    /// Makes a secret of `len` bytes with a `fill` that may fail; on failure what it wrote is wiped.
    ///
    /// # Errors
    ///
    /// Whatever `fill` returns.
    pub fn try_init_with<E>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut secret = Self(vec![0; len].into_boxed_slice());
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// Copies `bytes`. The caller's copy is the caller's to wipe.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The one way to the bytes; reviewers search for it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Wipes all bytes at once. The element-wise wiping of `zeroize` takes longer than AES-GCM on the same bytes.
impl Zeroize for SecretBytes {
    fn zeroize(&mut self) {
        self.0.fill(0);
        zeroize::optimization_barrier(&*self.0);
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

/// Takes the vector over. A vector with spare capacity is copied into a box of the exact size and wiped.
impl From<Vec<u8>> for SecretBytes {
    fn from(mut bytes: Vec<u8>) -> Self {
        if bytes.capacity() == bytes.len() {
            return Self(bytes.into_boxed_slice());
        }
        let secret = Self::copy_from(&bytes);
        bytes.zeroize();
        secret
    }
}

impl ConstantTimeEq for SecretBytes {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_only() {
        let secret = SecretBytes::copy_from(b"correct horse");
        assert_eq!(format!("{secret:?}"), "SecretBytes(13 bytes)");
    }

    #[test]
    fn comparison_is_by_content() {
        let a = SecretBytes::copy_from(b"abc");
        let mut spare = Vec::with_capacity(64);
        spare.extend_from_slice(b"abc");
        assert!(bool::from(a.ct_eq(&SecretBytes::from(spare))));
        assert!(!bool::from(a.ct_eq(&SecretBytes::copy_from(b"abd"))));
        assert!(!bool::from(a.ct_eq(&SecretBytes::copy_from(b"ab"))));
    }
}
