//! [`Body`] and [`Buffers`]: where bytes stand that may be secret. Wiped on drop.

use std::fmt;

use hsm_core::PublicKey;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A body that may hold secrets: wiped on drop, never printed.
#[derive(Default)]
pub struct Body(Vec<u8>);

impl Body {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Takes the bytes over.
impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// For who hands the body on without a copy, as a transport does: it is wiped when that is done with it.
impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Zeroize for Body {
    fn zeroize(&mut self) {
        wipe(&mut self.0);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Body {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// Room for the binary values of a request, used again for the next. Wiped on drop.
#[derive(Default)]
pub struct Buffers {
    pub(crate) value: Bytes,
    pub(crate) second: Bytes,
    pub(crate) iv: Bytes,
    pub(crate) aad: Bytes,
    pub(crate) public: Option<PublicKey>,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// One value.
#[derive(Default)]
pub(crate) struct Bytes(Vec<u8>);

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Forgets what is there.
    pub(crate) fn wipe(&mut self) {
        wipe(&mut self.0);
        self.0.clear();
    }

    /// `len` bytes to be written. Nothing is moved: what was there is wiped first.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        self.wipe();
        self.0.resize(len, 0);
        &mut self.0
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Wipes all bytes at once, as `SecretBytes` does: one by one takes longer than the operation.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(&*bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_printed_and_nothing_else() {
        let body = Body::from(b"secret".to_vec());
        assert_eq!(format!("{body:?}"), "Body(6 bytes)");
        let mut buffers = Buffers::default();
        buffers.value.room(6).copy_from_slice(b"secret");
        assert_eq!(format!("{buffers:?}"), "Buffers { .. }");
        buffers.value.wipe();
        assert!(buffers.value.as_slice().is_empty());
    }
}
