//! Keys leave wrapped, if they may, and come back as what they were and not as more.

use hsm_core::policy::{BuiltInRole, Scope};
use hsm_core::{Algorithm, ErrorKind, KeyType, NewKeyParameters, Request, Usage, WrappedFormat};

use super::super::{fails, ok};
use super::*;

const ALGORITHM: Algorithm = Algorithm::A256Kwp;
const NOT_WIDER: &str = "a wrapped key does not come back with more rights";

/// A service with a key to wrap others under.
async fn with_transport_key(made: ServiceUnderTest) -> Opened {
    let opened = Opened::new(made).await;
    opened.grant_export(ADMINISTRATOR, Scope::Keys).await;
    opened
        .all
        .create("transport", KeyType::Aes256, TRANSPORT)
        .await;
    opened
}

async fn export(caller: &Caller, target: &str) -> Result<Vec<u8>> {
    let request = Request::ExportKey {
        key: key(target),
        wrapping: key("transport"),
        algorithm: ALGORITHM,
    };
    caller.call(request).await.map(wrapped)
}

async fn import(
    caller: &Caller,
    to: &str,
    new: NewKeyParameters,
    wrapped: &[u8],
    format: WrappedFormat,
) -> Result<KeyInfo> {
    let request = Request::ImportWrappedKey {
        name: name(to),
        new,
        wrapping: key("transport"),
        algorithm: ALGORITHM,
        wrapped,
        format,
    };
    caller.call(request).await.map(key_info)
}

/// What was wrapped under a key comes back under another name as the same key.
pub async fn exported_keys_come_back_the_same(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = with_transport_key(make().await).await;
    if !opened.all.has(KeyType::Aes256, ALGORITHM) {
        return;
    }
    let caller = &opened.all;
    let new = exportable_key(KeyType::EcP256, SIGN);
    let original = ok(caller.try_create("original", new.clone()).await, "create");
    let blob = ok(export(caller, "original").await, "export");
    let copy = import(caller, "copy", new, &blob, WrappedFormat::Bound).await;
    let copy = ok(copy, "import what was exported");
    assert_eq!(copy.public, original.public, "the same key came back");
    assert_eq!(copy.attributes.spec, original.attributes.spec);
    let (bytes, _) = ok(
        caller.sign(key("copy"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    let verified = caller.verify(key("original"), Algorithm::Es256, MESSAGE, &bytes);
    ok(verified.await, "the copy signs as the original");
}

/// A key that was not made exportable stays, whoever asks.
pub async fn keys_that_are_not_exportable_stay(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = with_transport_key(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::EcP256, SIGN).await;
    fails(
        export(caller, "k").await,
        &[ErrorKind::Denied],
        "it never leaves",
    );
    // Nor under a key that is not for that.
    caller.create("aes", KeyType::Aes256, WRAP).await;
    let new = exportable_key(KeyType::EcP256, SIGN);
    ok(caller.try_create("exportable", new).await, "create");
    let request = Request::ExportKey {
        key: key("exportable"),
        wrapping: key("aes"),
        algorithm: ALGORITHM,
    };
    let exported = caller.call(request).await;
    let clause = "a key that unwraps for callers exports none";
    fails(exported, &[ErrorKind::KeyState], clause);
}

/// Neither usages nor exportability can be gained on the way.
pub async fn wrapped_keys_are_not_widened(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = with_transport_key(make().await).await;
    if !opened.all.has(KeyType::Aes256, ALGORITHM) {
        return;
    }
    let caller = &opened.all;
    let narrow = exportable_key(KeyType::EcP256, &[Usage::Sign]);
    ok(caller.try_create("narrow", narrow.clone()).await, "create");
    let blob = ok(export(caller, "narrow").await, "export");
    let wider = [
        exportable_key(KeyType::EcP256, SIGN),
        exportable_key(KeyType::EcP256, &[Usage::DeriveBits]),
    ];
    for new in wider {
        let imported = import(caller, "wider", new, &blob, WrappedFormat::Bound).await;
        fails(imported, &[ErrorKind::Denied], NOT_WIDER);
    }
    let other_type = exportable_key(KeyType::EcP384, &[Usage::Sign]);
    let imported = import(caller, "wider", other_type, &blob, WrappedFormat::Bound).await;
    let kinds = &[ErrorKind::Denied, ErrorKind::InvalidInput];
    fails(imported, kinds, "a wrapped key stays of its type");
    let clause = "a refused import leaves nothing behind";
    fails(
        caller.get(key("wider")).await,
        &[ErrorKind::NotFound],
        clause,
    );

    // A copy that may not leave does not learn to.
    let kept = new_key(KeyType::EcP256, &[Usage::Sign]);
    let imported = import(caller, "kept", kept, &blob, WrappedFormat::Bound).await;
    ok(imported, "a narrower copy");
    fails(
        export(caller, "kept").await,
        &[ErrorKind::Denied],
        NOT_WIDER,
    );
    // What others wrapped says nothing of what it may do.
    let bare = import(caller, "bare", narrow, &blob, WrappedFormat::Bare).await;
    assert!(
        bare.is_err(),
        "{NOT_WIDER}: bare material is never exportable"
    );
}

/// Each flipped byte of a wrapped key is found.
pub async fn edited_wrapped_keys_are_refused(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = with_transport_key(make().await).await;
    if !opened.all.has(KeyType::Aes256, ALGORITHM) {
        return;
    }
    let caller = &opened.all;
    let new = exportable_key(KeyType::Aes128, ENCRYPT);
    ok(caller.try_create("k", new.clone()).await, "create");
    let blob = ok(export(caller, "k").await, "export");
    for at in 0..blob.len() {
        let mut edited = blob.clone();
        edited[at] ^= 0x10;
        let imported = import(caller, "edited", new.clone(), &edited, WrappedFormat::Bound);
        let clause = format!("byte {at} of a wrapped key was edited");
        fails(imported.await, &[ErrorKind::CryptoFailed], clause);
    }
    let short = import(caller, "edited", new, &blob[..8], WrappedFormat::Bound).await;
    let kinds = &[ErrorKind::CryptoFailed, ErrorKind::InvalidInput];
    fails(short, kinds, "a wrapped key that was cut off");
}

/// Exporting needs the right to both keys, the one that leaves and the one that it leaves under.
pub async fn transport_needs_rights_to_both_keys(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = with_transport_key(make().await).await;
    if !opened.all.has(KeyType::Aes256, ALGORITHM) {
        return;
    }
    let new = exportable_key(KeyType::Aes128, ENCRYPT);
    ok(opened.all.try_create("k", new.clone()).await, "create");
    let blob = ok(export(&opened.all, "k").await, "export");
    let user = opened.user("mover").await;
    let mut granted = Vec::new();
    for role in BuiltInRole::ALL {
        granted.push(opened.all.assign(role.id(), "mover", Scope::Global).await);
    }
    let exported = export(&user, "k").await;
    let clause = "no built-in role exports keys";
    fails(exported, &[ErrorKind::Denied], clause);
    for assignment in granted {
        ok(opened.all.unassign(assignment.id).await, "revoke");
    }
    let role = BuiltInRole::CryptoUser.id();
    for (granted, other) in [
        ("/keys/k", "/keys/transport"),
        ("/keys/transport", "/keys/k"),
    ] {
        let grant = opened.grant_export("mover", scope(granted)).await;
        let clause = format!("exporting with rights to {granted} only");
        let error = export(&user, "k").await.expect_err(&clause);
        assert_eq!(error.kind(), ErrorKind::Denied, "{clause}");
        assert!(error.message().contains(other), "{clause}: {error}");
        ok(opened.all.unassign(grant.id).await, "revoke");
    }
    opened.all.assign(role, "mover", scope("/keys/mine")).await;
    let imported = import(&user, "mine", new.clone(), &blob, WrappedFormat::Bound).await;
    let clause = "importing without rights to the wrapping key";
    fails(imported, &[ErrorKind::Denied], clause);
    opened.all.assign(role, "mover", Scope::Keys).await;
    let imported = import(&user, "mine", new, &blob, WrappedFormat::Bound).await;
    ok(imported, "importing with rights to both");
}
