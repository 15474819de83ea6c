//! The cases of the [`RootSealer`] contract.

use hsm_core::limits::{SEALED_SECRET_LEN, SEALED_SECRET_LEN_MAX, SEALER_NAME_LEN_MAX};
use hsm_core::{ErrorKind, RootSealer, SecretBytes};

use super::{fails, ok};

const OPENS: &str = "what seal made, unseal of the same hardware opens";
const OWN: &str = "every seal is its own, and tells nothing of the secret";
const ALTERED: &str = "what was altered, or sealed by other hardware, is an error";
const REFUSALS: [ErrorKind; 3] = [
    ErrorKind::Damaged,
    ErrorKind::Denied,
    ErrorKind::DeviceFailed,
];

fn secret(seed: u8) -> SecretBytes {
    SecretBytes::init_with(SEALED_SECRET_LEN, |bytes| {
        for (byte, at) in bytes.iter_mut().zip(0u8..) {
            *byte = seed ^ at.wrapping_mul(37);
        }
    })
}

/// Several secrets come back, in any order, and more than once.
pub async fn sealed_secrets_come_back<S: RootSealer>(make: impl Fn() -> S) {
    let sealer = make();
    let sealed: Vec<_> = (0..3).map(|at| ok(sealer.seal(&secret(at)), OPENS)).collect();
    for at in [2, 0, 1, 0] {
        let opened = ok(sealer.unseal(&sealed[usize::from(at)]), OPENS);
        assert_eq!(opened.expose(), secret(at).expose(), "{OPENS}");
    }
}

/// The same secret becomes other bytes each time, among which it is not, and not too many.
pub async fn seals_differ_and_hide_the_secret<S: RootSealer>(make: impl Fn() -> S) {
    let sealer = make();
    let secret = secret(0xa5);
    let first = ok(sealer.seal(&secret), OWN);
    let second = ok(sealer.seal(&secret), OWN);
    assert_ne!(first, second, "{OWN}");
    for sealed in [first, second] {
        assert!((1..=SEALED_SECRET_LEN_MAX).contains(&sealed.len()));
        let part = &secret.expose()[..8];
        let shows = sealed.windows(part.len()).any(|window| window == part);
        assert!(!shows, "{OWN}");
    }
}

/// Only secrets of the one length are taken.
pub async fn other_lengths_are_refused<S: RootSealer>(make: impl Fn() -> S) {
    let sealer = make();
    for len in [0, 1, SEALED_SECRET_LEN - 1, SEALED_SECRET_LEN + 1, 4096] {
        let secret = SecretBytes::init_with(len, |bytes| bytes.fill(1));
        let clause = "a secret of another length is refused";
        fails(sealer.seal(&secret), &[ErrorKind::InvalidInput], clause);
    }
}

/// A changed byte, a cut and an addition are found, and leave the sealer usable.
pub async fn altered_seals_are_refused<S: RootSealer>(make: impl Fn() -> S) {
    let sealer = make();
    let sealed = ok(sealer.seal(&secret(7)), OPENS);
    let step = sealed.len() / 40 + 1;
    for at in (0..sealed.len()).step_by(step) {
        let mut altered = sealed.clone();
        altered[at] ^= 0x11;
        fails(sealer.unseal(&altered), &REFUSALS, ALTERED);
        fails(sealer.unseal(&sealed[..at]), &REFUSALS, ALTERED);
    }
    let longer = [&sealed[..], &[0]].concat();
    fails(sealer.unseal(&longer), &REFUSALS, ALTERED);
    let opened = ok(sealer.unseal(&sealed), OPENS);
    assert_eq!(opened.expose(), secret(7).expose(), "{OPENS}");
}

/// Other hardware does not open it.
pub async fn other_hardware_refuses<S: RootSealer>(make: impl Fn() -> S) {
    let (sealer, other) = (make(), make());
    let sealed = ok(sealer.seal(&secret(7)), OPENS);
    fails(other.unseal(&sealed), &[ErrorKind::DeviceFailed], ALTERED);
    ok(sealer.unseal(&sealed), OPENS);
}

/// The name is one that a message can have.
pub async fn the_name_is_for_messages<S: RootSealer>(make: impl Fn() -> S) {
    let name = make().name();
    assert!((1..=SEALER_NAME_LEN_MAX).contains(&name.len()), "{name:?}");
    let printable = |byte: u8| (b' '..=b'~').contains(&byte);
    assert!(name.bytes().all(printable), "{name:?}");
}
