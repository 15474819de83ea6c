//! A header of encrypted data reads as what was written, or is refused, however it is cut; and it is never longer than it says.
#![no_main]

use hsm_client::envelope::{HEADER_LEN_MAX, Header, SEGMENT_LEN_MAX, SEGMENT_LEN_MIN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    check(data);

    // Past the mark, the version and the algorithm.
    let start = b"hsm data\x01\x01";
    check(&[start, data].concat());
});

fn check(bytes: &[u8]) {
    let Ok((header, rest)) = Header::split(bytes) else {
        return;
    };
    let written = header.to_bytes();
    assert!(written.len() <= HEADER_LEN_MAX);
    assert_eq!([&written, rest].concat(), bytes);
    assert!((SEGMENT_LEN_MIN..=SEGMENT_LEN_MAX).contains(&header.segment_len()));
    let again = Header::split(&written).expect("what was read");
    assert_eq!(again, (header, &b""[..]));
    for end in 0..written.len() {
        Header::split(&written[..end]).expect_err("a part of a header");
    }
}
