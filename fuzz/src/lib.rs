//! What the fuzz targets and their seeds share.

mod hsm;
mod tpm;

pub use hsm::{Hsm, Rows};
pub use tpm::{FuzzedTpm, tpm_specs};

use hsm_backend_soft::SoftDevice;
use hsm_core::{Binding, KeySpec, KeyType, Usage, Usages};

/// A software device whose root is gone with the process.
#[must_use]
pub fn device() -> SoftDevice {
    SoftDevice::in_memory().expect("the self-tests pass")
}

/// The binding of every key of the targets that have no engine.
#[must_use]
pub fn binding() -> Binding {
    Binding::new("fuzz", b"a key")
}

/// A key of `key_type` that may do everything but carry other keys.
#[must_use]
pub fn spec(key_type: KeyType) -> KeySpec {
    let transport = Usages::of(&[Usage::Import, Usage::Export]);
    KeySpec::new(key_type, key_type.info().usages.without(transport)).expect("the registry fits")
}

/// Reads a fuzzer's bytes one after the other; zeros follow the last.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    /// The next two bytes as a number.
    pub fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// The next `len` bytes, or as many as there are.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of `choices`.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}
