//! Promise: a key whose type is known only at run time does what the typed handle of the same key does.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
#[expect(dead_code, reason = "nothing is opened again here")]
mod home;

use home::{Home, app};
use hsm_client::kinds::{HmacSha256, Kdk256, X25519};
use hsm_client::{Algorithm, ErrorKind};

#[test]
fn tags_are_those_of_the_typed_key() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let typed = session.create::<HmacSha256>("k").make().unwrap();
    let key = session.any_key("k").unwrap();
    let tag = key.mac(Algorithm::Hs256, b"user=alice").unwrap();
    assert_eq!(tag, typed.mac(b"user=alice").unwrap());
    // The tag says which version made it.
    typed.rotate().unwrap();
    key.verify_mac(Algorithm::Hs256, b"user=alice", &tag)
        .unwrap();
    let forged = key.verify_mac(Algorithm::Hs256, b"user=admin", &tag);
    assert_eq!(forged.unwrap_err().kind(), ErrorKind::CryptoFailed);
    let other = key.mac(Algorithm::Hs512, b"user=alice");
    assert_eq!(other.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn shared_secrets_are_those_of_the_typed_key() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let typed = session.create::<X25519>("one").make().unwrap();
    let peer = session.create::<X25519>("other").make().unwrap();
    let key = session.any_key("one").unwrap();
    let secret = key.agree(Algorithm::EcdhEs, &peer.public_key().unwrap());
    let from_there = peer.agree(&typed.public_key().unwrap());
    assert_eq!(secret.unwrap().expose(), from_there.unwrap().expose());
    let other = key.agree(Algorithm::HkdfSha256, &peer.public_key().unwrap());
    assert_eq!(other.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn derived_secrets_are_those_of_the_typed_key() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let typed = session.create::<Kdk256>("k").make().unwrap();
    let key = session.any_key("k").unwrap();
    let both = [
        (Algorithm::HkdfSha256, typed.hkdf(b"one", b"two", 48)),
        (Algorithm::KbkdfHmacSha256, typed.kbkdf(b"one", b"two", 48)),
    ];
    for (algorithm, expected) in both {
        let derived = key.derive(algorithm, b"one", b"two", 48).unwrap();
        assert_eq!(derived.expose(), expected.unwrap().expose(), "{algorithm}");
        let swapped = key.derive(algorithm, b"two", b"one", 48).unwrap();
        assert_ne!(derived.expose(), swapped.expose(), "{algorithm}");
    }
    let other = key.derive(Algorithm::Es256, b"one", b"two", 48);
    assert_eq!(other.unwrap_err().kind(), ErrorKind::InvalidInput);
}
