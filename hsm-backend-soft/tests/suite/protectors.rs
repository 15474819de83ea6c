//! The domain key rests under its protector: whoever lacks the secret, or brings an altered file, gets a clear error;
//! a change of protector and a zeroization are durable.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures_executor::block_on;
use hsm_backend_soft::{Protector, ProtectorFile, SoftDevice};
use hsm_core::{
    Algorithm, Binding, Device, ErrorKind, KeySpec, KeyType, SealedKey, SecretBytes, SignInput,
    Usage, Usages,
};
use tempfile::TempDir;

#[test]
fn keys_survive_a_restart() {
    let home = Home::new();
    let device = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let sealed = make_key(&device);
    drop(device);
    let device = crate::options()
        .open(&home.root(), &home.key_file())
        .unwrap();
    use_key(&device, &sealed).unwrap();
}

#[test]
fn a_wrong_passphrase_is_unauthenticated() {
    let home = Home::new();
    let sealed = make_key(
        &crate::options()
            .create(&home.root(), &passphrase("correct"))
            .unwrap(),
    );

    let error = crate::options()
        .open(&home.root(), &passphrase("Correct"))
        .unwrap_err();
    assert_eq!(error.to_string(), "not authenticated: wrong passphrase");
    let error = crate::options()
        .open(&home.root(), &home.key_file_made())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(
        error.message().contains("opens with a passphrase"),
        "{error}"
    );

    let device = crate::options()
        .open(&home.root(), &passphrase("correct"))
        .unwrap();
    use_key(&device, &sealed).unwrap();
}

#[test]
fn an_empty_passphrase_is_refused_and_nothing_is_left() {
    let home = Home::new();
    let error = crate::options()
        .create(&home.root(), &passphrase(""))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(fs::read_dir(home.0.path()).unwrap().count(), 0);
}

#[test]
fn another_key_file_is_unauthenticated() {
    let home = Home::new();
    crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let path = home.0.path().join("key");
    let mut key = fs::read(&path).unwrap();
    key[31] ^= 1;
    fs::write(&path, key).unwrap();
    let error = crate::options()
        .open(&home.root(), &home.key_file())
        .unwrap_err();
    assert_eq!(error.to_string(), "not authenticated: wrong key file");
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let home = Home::new();
    crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let path = home.0.path().join("key");
    for mode in [0o640, 0o604, 0o620, 0o610, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = crate::options()
            .open(&home.root(), &home.key_file())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{mode:o}");
        assert!(error.message().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    crate::options()
        .open(&home.root(), &home.key_file())
        .unwrap();
}

#[test]
fn a_key_file_of_another_length_is_refused() {
    let home = Home::new();
    crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let path = home.0.path().join("key");
    for len in [0, 31, 33, 4096] {
        fs::write(&path, vec![1; len]).unwrap();
        let error = crate::options()
            .open(&home.root(), &home.key_file())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{len} bytes");
    }
}

#[test]
fn files_are_for_their_owner_only() {
    let home = Home::new();
    crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    for name in ["root", "key"] {
        let metadata = fs::metadata(home.0.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::read_dir(home.0.path()).unwrap().count(), 2);
}

#[test]
fn create_never_replaces_and_open_never_makes() {
    let home = Home::new();
    let error = crate::options()
        .open(&home.root(), &home.key_file_made())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let before = fs::read(home.root()).unwrap();
    let error = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fs::read(home.root()).unwrap(), before);
}

#[test]
fn a_damaged_protector_file_says_so() {
    let home = Home::new();
    crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let whole = fs::read(home.root()).unwrap();
    let mut altered = whole.clone();
    altered[40] ^= 0x10;
    let long = [whole.as_slice(), &[0; 100_000]].concat();
    for bytes in [&whole[..whole.len() - 1], &[], &altered, &long] {
        fs::write(home.root(), bytes).unwrap();
        let error = crate::options()
            .open(&home.root(), &home.key_file())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert!(error.message().contains("root"), "names the file: {error}");
    }
}

#[test]
fn a_changed_protector_opens_and_the_old_one_does_not() {
    let home = Home::new();
    let device = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let sealed = make_key(&device);
    device.change_protector(&passphrase("new")).unwrap();
    use_key(&device, &sealed).unwrap();

    let error = crate::options()
        .open(&home.root(), &home.key_file())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let device = crate::options()
        .open(&home.root(), &passphrase("new"))
        .unwrap();
    use_key(&device, &sealed).unwrap();
    assert_eq!(names(home.0.path()), ["key", "root"]);
}

#[test]
fn what_a_crash_left_behind_does_not_stop_a_change() {
    let home = Home::new();
    let device = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    fs::write(home.0.path().join("root.new"), b"half a file").unwrap();
    device.change_protector(&home.key_file()).unwrap();
    crate::options()
        .open(&home.root(), &home.key_file())
        .unwrap();
    assert_eq!(names(home.0.path()), ["key", "root"]);
}

#[test]
fn a_device_in_memory_has_no_protector_and_shares_no_key() {
    let device = crate::options().in_memory().unwrap();
    let error = device.change_protector(&passphrase("new")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let sealed = make_key(&device);
    let error = use_key(&crate::options().in_memory().unwrap(), &sealed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

#[test]
fn after_zeroization_nothing_works_now_or_later() {
    let home = Home::new();
    let device = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let sealed = make_key(&device);
    let loaded = block_on(device.load(&sealed, &binding())).unwrap();
    let copy = fs::read(home.root()).unwrap();

    block_on(device.zeroize()).unwrap();

    let sign = SignInput::Message(b"m");
    let refusals = [
        block_on(loaded.sign(Algorithm::Es256, sign)).map(drop),
        block_on(loaded.verify(Algorithm::Es256, sign, &[0; 64])),
        block_on(device.generate(&spec(), &binding())).map(drop),
        block_on(device.import(SecretBytes::copy_from(b"key"), &spec(), &binding())).map(drop),
        block_on(device.load(&sealed, &binding())).map(drop),
        block_on(device.reseal(&sealed, &binding(), &binding(), Usages::NONE)).map(drop),
        block_on(device.random(&mut [0; 8])),
        block_on(device.self_test()),
        block_on(device.zeroize()),
        device.change_protector(&home.key_file()),
        crate::options()
            .open(&home.root(), &home.key_file())
            .map(drop),
    ];
    for (at, refusal) in refusals.into_iter().enumerate() {
        let error = refusal.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{at}: {error}");
        assert!(error.message().contains("zeroized"), "{at}: {error}");
    }

    let tombstone = fs::read(home.root()).unwrap();
    assert!(ProtectorFile::decode(&tombstone).unwrap().is_zeroized());
    assert!(
        !tombstone
            .windows(16)
            .any(|bytes| copy[10..].windows(16).any(|old| old == bytes))
    );
}

/// The old blocks are overwritten, not only left behind: a second name of the file shows them.
#[test]
fn zeroization_overwrites_the_file_in_place() {
    let home = Home::new();
    let device = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let second_name = home.0.path().join("second");
    fs::hard_link(home.root(), &second_name).unwrap();
    let len = fs::read(&second_name).unwrap().len();
    block_on(device.zeroize()).unwrap();
    assert_eq!(fs::read(&second_name).unwrap(), vec![0; len]);
}

/// Another process that has the device open must not undo a zeroization by changing the protector.
#[test]
fn a_change_of_protector_does_not_raise_the_dead() {
    let home = Home::new();
    let device = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let other = crate::options()
        .open(&home.root(), &home.key_file())
        .unwrap();
    block_on(device.zeroize()).unwrap();
    let error = other.change_protector(&passphrase("new")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed);
    let error = crate::options()
        .open(&home.root(), &passphrase("new"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed);
}

/// The memory is wiped even if the disk cannot be written; the error says what is left to do.
#[test]
fn a_zeroization_that_the_disk_refuses_still_stops_the_device() {
    let home = Home::new();
    let device = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let sealed = make_key(&device);
    fs::remove_file(home.root()).unwrap();
    fs::create_dir(home.root()).unwrap();
    let error = block_on(device.zeroize()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert!(error.message().contains("destroy the file"), "{error}");
    let error = use_key(&device, &sealed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed);
}

#[test]
fn debug_shows_no_secret() {
    let home = Home::new();
    let device = crate::options()
        .create(&home.root(), &home.key_file())
        .unwrap();
    let debug = format!("{device:?} {:?}", home.key_file());
    let key = fs::read(home.0.path().join("key")).unwrap();
    for pair in key.chunks(4) {
        let decimal = format!("{}, {}, {}, {}", pair[0], pair[1], pair[2], pair[3]);
        assert!(!debug.contains(&decimal), "{debug}");
    }
}

/// A folder for the protector file and the key file.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn key_file(&self) -> Protector {
        Protector::KeyFile(self.0.path().join("key"))
    }

    /// A key file of some other device.
    fn key_file_made(&self) -> Protector {
        let path = self.0.path().join("other");
        fs::write(&path, [1; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Protector::KeyFile(path)
    }
}

fn passphrase(text: &str) -> Protector {
    Protector::Passphrase(SecretBytes::copy_from(text.as_bytes()))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn spec() -> KeySpec {
    KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign, Usage::Verify])).unwrap()
}

fn binding() -> Binding {
    Binding::new("test", b"protectors")
}

fn make_key(device: &SoftDevice) -> SealedKey {
    block_on(device.generate(&spec(), &binding()))
        .unwrap()
        .sealed
}

fn use_key(device: &SoftDevice, sealed: &SealedKey) -> hsm_core::Result<()> {
    let key = block_on(device.load(sealed, &binding()))?;
    let message = SignInput::Message(b"m");
    let signature = block_on(key.sign(Algorithm::Es256, message))?;
    block_on(key.verify(Algorithm::Es256, message, &signature))
}
