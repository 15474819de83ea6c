//! The bytes that another implementation made are those that are made here, and are read here.

use std::io::{Read, Write};

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit;
use hsm_core::{Algorithm, VersionId};
use serde_json::Value;

use super::header::SegmentLen;
use super::{Decryptor, Encryptor, Header};
use crate::key::Wrapped;

/// Written by `tests/vectors/envelope.py`.
const VECTORS: &str = include_str!("../../tests/vectors/envelope.json");

#[test]
fn the_vectors_are_written_and_read() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    assert!(vectors.len() >= 6);
    for vector in vectors {
        let field = |name: &str| bytes(vector[name].as_str().unwrap());
        let (data_key, context) = (field("data_key"), field("context"));
        let (plaintext, sealed) = (field("plaintext"), field("sealed"));

        let code = u8::try_from(vector["wrapping"].as_u64().unwrap()).unwrap();
        assert_eq!(Algorithm::from_code(code), Some(Algorithm::A256Kwp));
        let version = VersionId::from_bytes(field("version").try_into().unwrap());
        let header = Header::new(
            SegmentLen::new(1 << vector["segment_len_log2"].as_u64().unwrap()).unwrap(),
            Algorithm::A256Kwp,
            vector["key_name"].as_str().unwrap().parse().unwrap(),
            Wrapped::new(version, field("wrapped")),
            field("salt").try_into().unwrap(),
        )
        .unwrap()
        .authenticate(&data_key)
        .unwrap();
        let stream = |header: &Header| {
            let keys = header.verify(&data_key).unwrap();
            keys.stream(&header.suite(), &context).unwrap()
        };
        let mut encryptor = Encryptor::new(&header, stream(&header), Vec::new());
        encryptor.write_all(&plaintext).unwrap();
        assert_eq!(hex(&encryptor.finish().unwrap()), hex(&sealed), "{vector}");

        let (read, segments) = Header::split(&sealed).unwrap();
        assert_eq!(read, header);
        assert_eq!(read.to_bytes(), sealed[..read.encoded_len()]);
        let mut unwrapped = [0; 40];
        let kek = KwpAes256::new_from_slice(&field("kek")).unwrap();
        let unwrapped = kek.unwrap_key(read.wrapped().bytes(), &mut unwrapped);
        assert_eq!(unwrapped.unwrap(), data_key);
        let mut opened = Vec::new();
        Decryptor::new(&read, stream(&read), segments)
            .read_to_end(&mut opened)
            .unwrap();
        assert_eq!(opened, plaintext);
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
