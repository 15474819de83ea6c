//! Audit frames split, decode and chain without a panic, and a verifier believes only what follows.
#![no_main]

use std::sync::LazyLock;

use hsm_core::audit::{Chain, Frame, StreamId, StreamVerifier, split_frame, verify_stream};
use hsm_core::limits::AUDIT_RECORD_LEN_MAX;
use hsm_core::{Device, KeyType, PublicKey};
use hsm_fuzz::{Bytes, binding, device, spec};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use sha2::{Digest, Sha256};

const STREAM: StreamId = StreamId::from_bytes([7; 16]);

static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let new = block_on(device().generate(&spec(KeyType::EcP256), &binding())).expect("a key");
    new.public.expect("a pair")
});

fuzz_target!(|data: &[u8]| {
    // As they are.
    let (frames, used) = split(data);
    let written: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
    assert_eq!(written, data[..used]);
    verify(&frames);

    // With the hashes that belong to them, so that the bodies are looked at.
    let mut bytes = Vec::new();
    let mut head = Chain::new(STREAM).head();
    let mut data = Bytes(data);
    while !data.is_empty() {
        let len = data.number() % AUDIT_RECORD_LEN_MAX + 1;
        let body = data.take(len);
        if body.is_empty() {
            break;
        }
        head.hash = Sha256::new()
            .chain_update(head.hash)
            .chain_update(head.records.to_be_bytes())
            .chain_update(body)
            .finalize()
            .into();
        head.records += 1;
        bytes.extend_from_slice(
            &u32::try_from(body.len())
                .expect("it is short")
                .to_le_bytes(),
        );
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(&head.hash);
    }
    let (frames, used) = split(&bytes);
    assert_eq!((frames.len() as u64, used), (head.records, bytes.len()));
    let mut chain = Chain::new(STREAM);
    for frame in &frames {
        let before = chain.head();
        match chain.follow(frame) {
            Ok(entry) => {
                // What was read can be written, and reads the same.
                let mut again = Vec::new();
                Chain::resume(before)
                    .append(&entry, &mut again)
                    .expect("it was that short");
                let (again, _) = split(&again);
                assert_eq!(again[0].decode().expect("an entry"), entry);
            }
            Err(_) => {
                assert_eq!(chain.head(), before);
                break;
            }
        }
    }
    verify(&frames);
});

fn split(mut bytes: &[u8]) -> (Vec<Frame>, usize) {
    let (mut frames, len) = (Vec::new(), bytes.len());
    while let Ok(Some((frame, rest))) = split_frame(bytes) {
        frames.push(frame);
        bytes = rest;
    }
    (frames, len - bytes.len())
}

fn verify(frames: &[Frame]) {
    let mut seen = 0;
    let verified = verify_stream(
        StreamVerifier::new(STREAM, &KEY),
        frames.iter().cloned().map(Ok),
        |_, _| seen += 1,
    );
    match verified {
        // Nobody has the key.
        Ok(verified) => assert_eq!((verified.signed, verified.head.records), (0, seen)),
        Err(flaw) => assert_eq!(flaw.record, seen),
    }
}
