//! A protector file reads as what was written, or is refused.
#![no_main]

use hsm_backend_soft::ProtectorFile;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

fuzz_target!(|data: &[u8]| {
    check(data);

    // Past the mark and the checksum.
    let mut bytes = b"hsm root".to_vec();
    bytes.extend_from_slice(data);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    check(&bytes);
});

fn check(bytes: &[u8]) {
    if let Ok(file) = ProtectorFile::decode(bytes) {
        assert_eq!(file.encode(), bytes);
    }
}
