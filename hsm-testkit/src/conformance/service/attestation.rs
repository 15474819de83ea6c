//! Key reports: they are of the key and for the nonce that were asked with, and for those who may read the key.

use hsm_core::attestation::{KeyReport, Nonce, Pcrs, Proof};
use hsm_core::policy::BuiltInRole;
use hsm_core::{ErrorKind, KeyType};

use super::super::{fails, ok, skip};
use super::*;

/// A report has the nonce that it was asked with, and says which version of which key it is of.
pub async fn key_reports_answer_what_was_asked(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    if !attests(caller) {
        return;
    }
    let first = caller.create("k", KeyType::EcP256, SIGN).await;
    let old = KeyRef::version(name("k"), first.version);
    let now = ok(caller.rotate("k").await, "rotate");
    let other = caller.create("other", KeyType::EcP256, SIGN).await;
    let mut attesters = Vec::new();
    for (asked, info, byte) in [
        (key("k"), &now, 1),
        (key("k"), &now, 2),
        (old, &first, 1),
        (key("other"), &other, 1),
    ] {
        let (report, version) = ok(caller.attest(&asked, byte).await, "attest");
        let claims = report.claims();
        assert_eq!(claims.nonce, nonce(byte), "the nonce is the caller's");
        assert_eq!(version, info.version, "the answer says which version");
        let label = KeyRef::version(info.name.clone(), info.version);
        assert_eq!(claims.label, Some(label), "the report names the version");
        assert_eq!(claims.public, info.public, "the report is of this key");
        assert_eq!(claims.spec, info.attributes.spec, "and of its kind");
        if let Proof::Software(attester) = report.proof() {
            ok(report.verify_signature(attester), "a report is signed");
        }
        attesters.push(claims.attestation_key);
    }
    attesters.dedup();
    assert_eq!(attesters.len(), 1, "an HSM has one attestation key");
}

/// Who may read a key gets its report, and nobody else. A key that is deleted has none until it is recovered.
pub async fn key_reports_are_for_readers(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    if !attests(caller) {
        return;
    }
    for key in ["k", "other"] {
        caller.create(key, KeyType::EcP256, SIGN).await;
    }
    let user = opened.user("app").await;
    let denied = &[ErrorKind::Denied];
    let refused = user.attest(&key("k"), 1).await;
    fails(refused, denied, "who may not read a key gets no report");
    let role = BuiltInRole::CryptoUser.id();
    let assignment = caller.assign(role, "app", scope("/keys/k")).await;
    ok(user.attest(&key("k"), 1).await, "a reader gets a report");
    let refused = user.attest(&key("other"), 1).await;
    fails(refused, denied, "a role at another key");
    ok(caller.unassign(assignment.id).await, "revoke");
    let refused = user.attest(&key("k"), 1).await;
    fails(refused, denied, "a change of roles counts at the next call");

    let missing = &[ErrorKind::NotFound];
    let refused = caller.attest(&key("none"), 1).await;
    fails(refused, missing, "there is no such key");
    ok(caller.delete("k").await, "delete");
    let refused = caller.attest(&key("k"), 1).await;
    fails(refused, missing, "a deleted key has no report");
    ok(caller.recover("k").await, "recover");
    ok(caller.attest(&key("k"), 1).await, "it is back");
}

fn nonce(byte: u8) -> Nonce {
    ok(Nonce::new([byte; 16]), "a nonce of 16 bytes")
}

fn attests(caller: &Caller) -> bool {
    let attests = caller
        .1
        .as_ref()
        .is_none_or(|offers| offers.supports_attestation());
    if !attests {
        skip("the service makes no key reports");
    }
    attests
}

impl Caller {
    async fn attest(&self, key: &KeyRef, byte: u8) -> Result<(KeyReport, VersionId)> {
        let request = Request::AttestKey {
            key: key.clone(),
            nonce: nonce(byte),
            pcrs: Pcrs::NONE,
        };
        match self.call(request).await? {
            Response::Evidence { evidence, version } => {
                Ok((ok(evidence.decode(), "a report is one"), version))
            }
            other => unexpected("a key report", &other),
        }
    }
}
