//! Backups of keys: what comes back, and what does not.

use hsm_core::lifecycle::{Event, State};
use hsm_core::limits::KEY_BACKUP_LEN_MAX;
use hsm_core::policy::RotationPolicy;
use hsm_core::{Algorithm, AttributesUpdate, ErrorKind, KeyType};

use super::super::{fails, ok};
use super::*;

/// A key that was purged comes back from its backup, with its versions, attributes and policy.
pub async fn restored_keys_are_the_same(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::EcP256, SIGN).await;
    let (bytes, first) = ok(
        caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    let policy = ok(RotationPolicy::rotate_after("P90D"), "a policy");
    let set = caller.call(Request::SetRotationPolicy {
        name: name("k"),
        policy: Some(policy.clone()),
    });
    ok(set.await, "set a policy");
    ok(caller.rotate("k").await, "rotate");
    let old = KeyRef::version(name("k"), first);
    let suspend = AttributesUpdate::new().event(Event::Suspend);
    ok(
        caller.update(&old, suspend).await,
        "suspend the old version",
    );
    let before = caller.versions("k").await;
    let backup = ok(caller.backup("k").await, "back a key up");
    ok(caller.rotate("k").await, "rotate once more");
    ok(caller.delete("k").await, "delete");
    ok(caller.purge("k").await, "purge");

    let restored = ok(caller.restore(&backup).await, "restore a key");
    assert_eq!(Some(&restored), before.last(), "the answer is the key");
    assert_eq!(caller.versions("k").await, before, "as they were then");
    let found = caller.call(Request::GetRotationPolicy { name: name("k") });
    match ok(found.await, "the policy") {
        Response::RotationPolicy(found) => assert_eq!(found, Some(policy)),
        other => unexpected("a policy", &other),
    }
    let verify = async || caller.verify(&old, Algorithm::Es256, MESSAGE, &bytes).await;
    let clause = "a state comes back as it was";
    fails(verify().await, &[ErrorKind::KeyState], clause);
    let resume = AttributesUpdate::new().event(Event::Resume);
    ok(caller.update(&old, resume).await, "resume");
    ok(verify().await, "the same key bytes");
}

/// A backup replaces nothing: its name must be free. Deleted keys are not backed up.
pub async fn backups_replace_no_key(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let missing = caller.backup("k").await;
    fails(missing, &[ErrorKind::NotFound], "there is no such key");
    caller.create("k", KeyType::EcP256, SIGN).await;
    let backup = ok(caller.backup("k").await, "back a key up");
    let now = ok(caller.rotate("k").await, "rotate");
    let taken = &[ErrorKind::Conflict];
    let restored = caller.restore(&backup).await;
    fails(restored, taken, "a key that is there is not replaced");
    assert_eq!(ok(caller.get(key("k")).await, "read"), now);
    ok(caller.delete("k").await, "delete");
    let restored = caller.restore(&backup).await;
    fails(restored, taken, "nor is one that can be recovered");
    let deleted = caller.backup("k").await;
    fails(
        deleted,
        &[ErrorKind::NotFound],
        "a deleted key does nothing",
    );
    let recovered = ok(caller.recover("k").await, "recover");
    assert_eq!(recovered.version, now.version);
}

/// Nothing in a backup can be changed, and one of another service is of no use.
pub async fn foreign_and_edited_backups_are_refused(make: impl AsyncFn() -> ServiceUnderTest) {
    let (opened, other) = (
        Opened::new(make().await).await,
        Opened::new(make().await).await,
    );
    let caller = &opened.all;
    caller.create("k", KeyType::HmacSha256, SIGN).await;
    let backup = ok(caller.backup("k").await, "back a key up");
    ok(caller.delete("k").await, "delete");
    ok(caller.purge("k").await, "purge");
    let refused = &[ErrorKind::InvalidInput, ErrorKind::Damaged];
    let clause = "a backup is restored where it was made";
    let elsewhere = other.all.restore(&backup).await;
    fails(
        elsewhere,
        &[ErrorKind::InvalidInput, ErrorKind::Damaged],
        clause,
    );
    for at in 0..backup.len() {
        let mut edited = backup.clone();
        edited[at] ^= 1;
        let restored = caller.restore(&edited).await;
        fails(
            restored,
            refused,
            format!("byte {at} of a backup was changed"),
        );
    }
    for cut in [0, 1, backup.len() / 2, backup.len() - 1] {
        let restored = caller.restore(&backup[..cut]).await;
        fails(restored, refused, "a backup that was cut off");
    }
    let longer = [&backup[..], b"\0"].concat();
    fails(caller.restore(&longer).await, refused, "a longer backup");
    let huge = vec![0; KEY_BACKUP_LEN_MAX + 1];
    let clause = "a backup beyond the limit";
    fails(
        caller.restore(&huge).await,
        &[ErrorKind::LimitExceeded],
        clause,
    );
    fails(
        caller.get(key("k")).await,
        &[ErrorKind::NotFound],
        "nothing came of it",
    );
    ok(caller.restore(&backup).await, "the backup as it was made");
}

/// A version that was compromised after it was backed up is not made good by it.
pub async fn compromised_keys_come_back_compromised(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let first = caller.create("k", KeyType::EcP256, SIGN).await;
    ok(caller.rotate("k").await, "rotate");
    let backup = ok(caller.backup("k").await, "back a key up");
    let compromise = AttributesUpdate::new().event(Event::Compromise);
    ok(caller.update(first.key(), compromise).await, "compromise");
    for _ in 0..2 {
        ok(caller.delete("k").await, "delete");
        ok(caller.purge("k").await, "purge");
        ok(caller.restore(&backup).await, "restore");
        let found = ok(caller.get(first.key()).await, "the first version");
        assert_eq!(found.attributes.state, State::Compromised);
        let signed = caller.sign(first.key(), Algorithm::Es256, MESSAGE).await;
        let clause = "what was compromised signs no more";
        fails(signed, &[ErrorKind::KeyState], clause);
        let signed = caller.sign(key("k"), Algorithm::Es256, MESSAGE).await;
        ok(signed, "the other version is as it was");
    }
}

impl Caller {
    async fn backup(&self, key: &str) -> Result<Vec<u8>> {
        match self.call(Request::BackupKey { name: name(key) }).await? {
            Response::Backup(backup) => Ok(backup),
            other => unexpected("a backup", &other),
        }
    }

    async fn restore(&self, backup: &[u8]) -> Result<KeyInfo> {
        self.call(Request::RestoreKey { backup })
            .await
            .map(key_info)
    }
}
