//! Promise: the bytes of keys, passwords and passphrases are in the memory of a process while they are needed, and in no
//! byte of it afterwards: not on a heap, not on a stack, not in a core dump.
//!
//! The secrets are made here and go to a child masked, so that the child has them in clear only where the HSM has them.
//! Its whole memory is read through `/proc` and searched.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit;
use argon2::{Argon2, Block, Params, Version};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use hkdf::Hkdf;
use hsm_client::blocking::{Hsm, Key, Session};
use hsm_client::kinds::{
    Aes128Gcm, Aes256Cbc, Aes256Gcm, Aes256Kwp, Aes256Transport, EcdhP256, EcdsaP256, EcdsaP384,
    Ed25519, HmacSha256, Kdk256, KeyKind, MlDsa65, MlKem768, RsaOaep2048, RsaPss2048, RsaPss3072,
    X25519,
};
use hsm_client::lifecycle::Event;
use hsm_client::limits::LOADED_KEY_LIFETIME_MAX;
use hsm_client::{
    ActionSet, AttributesUpdate, BuiltInRole, DataAction, ErrorKind, OpenOptions, Result, RoleId,
    Scope, SecretBytes, Setup,
};
use hsm_testkit::ManualClock;
use hsm_testkit::process::{self, Child};
use memchr::memmem;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sha2::Sha256;

#[test]
fn nothing_is_left_after_logout() {
    let mut holder = Holder::start(World::new());
    holder.is_given("open", "passphrase");
    holder.has_only(&["domain key"]);
    holder.is_given("login", "password");
    holder.has_only(&["domain key"]);
    let mut loaded = vec!["domain key"];
    for kind in KINDS {
        holder.is_given(&format!("import {kind}"), kind);
        holder.has_only(&loaded);
        holder.is_given(&format!("use {kind}"), "payload");
        loaded.push(kind);
        holder.has_only(&loaded);
    }
    holder.is_told("logout");
    holder.has_only(&["domain key"]);

    // Use loads a key again, and a handle that is dropped ends its session.
    holder.is_given("login", "password");
    holder.is_given("use kdk", "payload");
    holder.has_only(&["domain key", "kdk"]);
    holder.is_told("drop");
    holder.has_only(&["domain key"]);
}

#[test]
fn nothing_is_left_after_zeroize() {
    let mut holder = Holder::start(World::new());
    holder.opens_and_uses_all();
    holder.is_given("zeroize", "admin password");
    holder.has_only(&[]);
}

#[test]
fn nothing_is_left_after_close() {
    let mut holder = Holder::start(World::new());
    holder.opens_and_uses_all();
    holder.is_told("close");
    // The session that is left holds the device.
    holder.has_only(&["domain key"]);
    holder.is_told("drop");
    holder.has_only(&[]);
}

#[test]
fn a_key_leaves_with_its_deletion_and_at_the_end_of_its_time() {
    let mut holder = Holder::start(World::new());
    holder.is_given("open", "passphrase");
    holder.is_given("login", "password");
    for kind in ["kdk", "x25519", "ed25519"] {
        holder.is_given(&format!("import {kind}"), kind);
        holder.is_given(&format!("use {kind}"), "payload");
    }
    holder.has_only(&["domain key", "ed25519", "kdk", "x25519"]);
    holder.is_told("delete kdk");
    holder.is_told("wait 0");
    holder.has_only(&["domain key", "ed25519", "x25519"]);
    holder.is_told("deactivate ed25519");
    holder.is_told("wait 0");
    holder.has_only(&["domain key", "x25519"]);
    holder.is_told(&format!("wait {}", LOADED_KEY_LIFETIME_MAX.as_secs() - 1));
    holder.has_only(&["domain key", "x25519"]);
    holder.is_told("wait 1");
    holder.has_only(&["domain key"]);
}

#[test]
fn what_fails_leaves_nothing() {
    let mut holder = Holder::start(World::new());
    holder.is_given("fail to open", "payload");
    holder.has_only(&[]);
    holder.is_given("open", "passphrase");
    holder.is_given("fail to login", "payload");
    holder.is_given("login", "password");
    for kind in KINDS {
        holder.is_given(&format!("fail to import {kind}"), kind);
    }
    holder.has_only(&["domain key"]);
    holder.is_given("change-password", "password");
    holder.has_only(&["domain key"]);
}

/// The parent learns what was generated from its export.
#[test]
fn what_is_generated_and_exported_is_not_left() {
    let mut holder = Holder::start(World::new());
    holder.is_given("open", "passphrase");
    holder.is_given("login", "password");
    holder.is_given("import transport", "transport");
    for kind in ["kdk", "ed25519", "ecdsa", "pss"] {
        let exported = holder.child.ask(&format!("generate {kind}"));
        holder.world.learn(kind, &exported);
    }
    holder.has_only(&["domain key", "ecdsa", "ed25519", "kdk", "pss", "transport"]);
    holder.is_told("logout");
    holder.has_only(&["domain key"]);
}

#[test]
fn a_core_dump_has_loaded_keys_and_not_the_domain_key() {
    let mut holder = Holder::start(World::new());
    holder.opens_and_uses_all();
    holder.check_page_of_the_domain_key();
    let Some(core) = holder.dumps_core() else {
        return;
    };
    let mut found = BTreeMap::new();
    holder.world.search(&core, "core", &mut found);
    assert!(found.contains_key("kdk"), "that is no dump of it");
    for name in [&PASSING[..], &["domain key"]].concat() {
        assert!(!found.contains_key(name), "{name} is in the core dump");
    }
}

/// A secret that is held, and then is not: the search finds it, and wiping wipes it.
#[test]
fn the_search_finds_what_is_there() {
    let mut holder = Holder::start(World::new());
    holder.has_only(&[]);
    holder.is_given("hold", "payload");
    assert!(holder.found().contains_key("payload"));
    holder.is_told("let-go");
    holder.has_only(&[]);
}

/// Libraries keep these as they are, so that a search that works finds them while their keys are loaded.
const PLAIN: [&str; 4] = ["domain key", "ed25519", "kdk", "x25519"];

/// What is needed for a moment only.
const PASSING: [&str; 7] = [
    "admin password",
    "argon2 block",
    "passphrase",
    "password",
    "payload",
    "stretched passphrase",
    "unlocking key",
];

const PAGE_LEN: usize = 4096;

/// An HSM under a passphrase, and every secret of it.
struct World {
    folder: tempfile::TempDir,
    secrets: Vec<Secret>,
}

struct Secret {
    name: &'static str,
    /// As it is handed over.
    value: Vec<u8>,
    /// What must not be found: parts of it, in both orders of bytes.
    needles: Vec<Vec<u8>>,
}

impl Secret {
    fn new(name: &'static str, value: &[u8]) -> Self {
        Self::of(name, value, &[value])
    }

    fn of(name: &'static str, value: &[u8], numbers: &[&[u8]]) -> Self {
        let mut needles = Vec::new();
        for number in numbers {
            for start in [0, number.len() / 2 - 8, number.len() - 16] {
                let part = number[start..start + 16].to_vec();
                needles.push(part.iter().rev().copied().collect());
                needles.push(part);
            }
        }
        Self {
            name,
            value: value.to_vec(),
            needles,
        }
    }

    /// A key of a kind, in its common encoding.
    fn of_kind(kind: &'static str, encoded: &[u8]) -> Self {
        match kind {
            "ecdsa" | "ecdh" => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, encoded).unwrap();
                let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
                Self::of(kind, encoded, &[scalar.as_ref()])
            }
            "ed25519" => {
                let pair = Ed25519KeyPair::from_pkcs8(encoded).unwrap();
                let seed = pair.seed().unwrap().as_be_bytes().unwrap();
                Self::of(kind, encoded, &[seed.as_ref()])
            }
            "x25519" => Self::of(kind, encoded, &[&encoded[16..]]),
            "pss" | "oaep" => Self::of(kind, encoded, &private_numbers(encoded)),
            "mldsa" | "mlkem" => {
                let seeds: Vec<_> = encoded[22..].chunks(32).collect();
                Self::of(kind, encoded, &seeds)
            }
            _ => Self::new(kind, encoded),
        }
    }

    fn random(kind: &'static str) -> Self {
        match kind {
            "ecdsa" | "ecdh" => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                Self::of_kind(kind, pair.to_pkcs8v1().unwrap().as_ref())
            }
            "ed25519" => {
                let pair = Ed25519KeyPair::generate().unwrap();
                Self::of_kind(kind, pair.to_pkcs8v1().unwrap().as_ref())
            }
            "x25519" => {
                // PrivateKeyInfo of RFC 8410 section 7.
                let prefix = b"0.\x02\x01\x000\x05\x06\x03+en\x04\"\x04 ";
                Self::of_kind(kind, &[&prefix[..], &random()].concat())
            }
            // PrivateKeyInfo of RFC 9881 and RFC 9935, section 6 of both.
            "mldsa" => {
                let prefix =
                    b"04\x02\x01\x000\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12\x04\x22\x80\x20";
                Self::of_kind(kind, &[&prefix[..], &random()].concat())
            }
            "mlkem" => {
                let prefix =
                    b"0T\x02\x01\x000\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x02\x04\x42\x80\x40";
                Self::of_kind(kind, &[&prefix[..], &random(), &random()].concat())
            }
            "pss" | "oaep" => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
                Self::of_kind(kind, pair.as_der().unwrap().as_ref())
            }
            _ => Self::new(kind, &random()),
        }
    }
}

/// What the child can make use of.
const KINDS: [&str; 13] = [
    "kdk", "hmac", "gcm", "cbc", "kwp", "ecdsa", "ecdh", "ed25519", "x25519", "pss", "oaep",
    "mldsa", "mlkem",
];

impl World {
    fn new() -> Self {
        let names = [
            "passphrase",
            "admin password",
            "password",
            "payload",
            "transport",
        ];
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            secrets: names.into_iter().chain(KINDS).map(Secret::random).collect(),
        };
        let setup = Setup::new("admin", world.value("admin password"))
            .passphrase(world.value("passphrase"))
            .clock(Arc::<ManualClock>::default());
        let hsm = Hsm::create(&world.url(), setup).unwrap();
        let admin = hsm.login("admin", world.value("admin password")).unwrap();
        admin.create_user("app", world.value("password")).unwrap();
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .unwrap();
        let exporter = RoleId::from_u128(1 << 64);
        let actions = ActionSet::of(&[DataAction::KeyExport]);
        admin
            .define_role(exporter, "Exporter", "", actions)
            .unwrap();
        admin.assign_role(exporter, "app", Scope::Keys).unwrap();
        drop(admin);
        hsm.close().unwrap();
        let passed = world.unlock();
        world.secrets.extend(passed);
        world
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("dev.hsm")
    }

    fn url(&self) -> String {
        format!("soft:{}", self.path().to_str().unwrap())
    }

    fn value(&self, name: &str) -> &[u8] {
        let mut secrets = self.secrets.iter();
        &secrets.find(|secret| secret.name == name).unwrap().value
    }

    /// What the passphrase turns into on the way to the domain key, by `docs/sealed_key.md`.
    fn unlock(&self) -> [Secret; 4] {
        let file = fs::read(self.path().join("domain")).unwrap();
        let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        let (head, salt, wrapped) = (&file[8..22], &file[22..54], &file[54..94]);
        let params = Params::new(number(10), number(14), number(18), Some(32)).unwrap();
        let mut memory = vec![Block::new(); params.block_count()];
        let mut stretched = [0; 32];
        Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                self.value("passphrase"),
                salt,
                &mut stretched,
                &mut memory,
            )
            .unwrap();
        let block = memory.last().unwrap().as_ref();
        let block: Vec<u8> = block.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(salt), &stretched)
            .expand_multi_info(&[b"hsm protector", head], &mut key)
            .unwrap();
        [
            Secret::new("argon2 block", &block),
            Secret::new("stretched passphrase", &stretched),
            Secret::new("unlocking key", &key),
            Secret::new("domain key", &unwrapped(&key, wrapped)),
        ]
    }

    /// Takes an exported key in place of the one that was made here.
    fn learn(&mut self, kind: &'static str, exported: &str) {
        let exported = SecretBytes::from(bytes(exported));
        // Behind the version that wrapped it.
        let plaintext = unwrapped(self.value("transport"), &exported.expose()[16..]);
        self.secrets.retain(|secret| secret.name != kind);
        // Behind the header.
        self.secrets.push(Secret::of_kind(kind, &plaintext[6..]));
    }

    /// Notes where in `memory` which secret is.
    fn search(&self, memory: &[u8], place: &str, found: &mut BTreeMap<&'static str, Vec<String>>) {
        for secret in &self.secrets {
            for needle in &secret.needles {
                for at in memmem::find_iter(memory, needle) {
                    let place = format!("{place}, offset {at:#x} of {:#x}", memory.len());
                    found.entry(secret.name).or_default().push(place);
                }
            }
        }
    }
}

/// A process that has the HSM open.
struct Holder {
    world: World,
    child: Child,
    pid: u32,
}

impl Holder {
    fn start(world: World) -> Self {
        let mut child = Child::start("holder", &[&world.url()]);
        let pid = child.report().unwrap().parse().unwrap();
        Self { world, child, pid }
    }

    fn opens_and_uses_all(&mut self) {
        self.is_given("open", "passphrase");
        self.is_given("login", "password");
        for kind in KINDS {
            self.is_given(&format!("import {kind}"), kind);
            self.is_given(&format!("use {kind}"), "payload");
        }
        self.has_only(&[&KINDS[..], &["domain key"]].concat());
    }

    /// Does something with a secret, which comes to it in two halves of which neither says anything.
    fn is_given(&mut self, order: &str, secret: &str) {
        let secret = self.world.value(secret);
        let mut mask = vec![0; secret.len()];
        getrandom::fill(&mut mask).unwrap();
        let masked: Vec<u8> = secret.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
        self.is_told(&format!("{order} {} {}", hex(&mask), hex(&masked)));
    }

    fn is_told(&mut self, order: &str) {
        assert_eq!(self.child.ask(order), "done", "{order}");
    }

    /// No secret but these is in its memory.
    fn has_only(&self, names: &[&'static str]) {
        let found = self.found();
        for (name, places) in &found {
            assert!(names.contains(name), "{name} is in memory: {places:#?}");
        }
        for name in names.iter().filter(|name| PLAIN.contains(name)) {
            assert!(found.contains_key(name), "{name} was not found");
        }
    }

    fn found(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut found = BTreeMap::new();
        let memory = File::open(format!("/proc/{}/mem", self.pid)).unwrap();
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap();
        for mapping in maps.lines() {
            // Pages of the kernel's own cannot be read.
            let kernels = ["[vvar", "[vsyscall]"]
                .iter()
                .any(|name| mapping.contains(name));
            let (from, to) = range(mapping);
            if kernels
                || mapping
                    .split(' ')
                    .nth(1)
                    .is_none_or(|access| !access.starts_with('r'))
            {
                continue;
            }
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            if memory.read_exact_at(&mut bytes, from).is_err() {
                // Behind the end of a mapped file, or where a thread has just ended, there is nothing to be read.
                for (page, at) in bytes.chunks_mut(PAGE_LEN).zip((from..).step_by(PAGE_LEN)) {
                    let _ = memory.read_exact_at(page, at);
                }
            }
            self.world.search(&bytes, mapping, &mut found);
        }
        found
    }

    /// The domain key is in one page, which is locked and left out of core dumps.
    fn check_page_of_the_domain_key(&self) {
        let found = self.found();
        let mut places = found["domain key"].iter();
        let page = places.next().unwrap().split(' ').next().unwrap();
        assert!(places.all(|place| place.starts_with(page)), "{found:#?}");
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.pid)).unwrap();
        let mapping = smaps.split_once(page).unwrap().1;
        let Some((_, flags)) = mapping.split_once("VmFlags:") else {
            println!("skipped: this kernel does not tell the flags of mappings");
            return;
        };
        let flags: Vec<_> = flags.lines().next().unwrap().split_whitespace().collect();
        assert!(flags.contains(&"dd"), "{flags:?}");
        assert!(flags.contains(&"lo"), "{flags:?}");
    }

    /// Ends it with a core dump and returns that.
    fn dumps_core(&mut self) -> Option<Vec<u8>> {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        if pattern.starts_with(['|', '/']) {
            println!(
                "skipped: this system puts core dumps elsewhere ({})",
                pattern.trim()
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        self.child
            .tell(&format!("dump-core {}", folder.path().to_str().unwrap()));
        let last = self.child.report();
        assert_eq!(last, None, "it lives");
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        let [Ok(core)] = &files[..] else {
            println!("skipped: no core dump was written");
            return None;
        };
        Some(fs::read(core.path()).unwrap())
    }
}

/// What the child has at hand.
#[derive(Default)]
struct Hands {
    clock: Arc<ManualClock>,
    hsm: Option<Hsm>,
    session: Option<Session>,
    held: Option<SecretBytes>,
}

#[test]
#[ignore = "plays a role"]
fn holder() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    process::report(std::process::id());
    let mut hands = Hands::default();
    loop {
        let order = process::told();
        process::report(match hands.obey(&arguments[0], &order) {
            Ok(None) => "done".to_owned(),
            Ok(Some(answer)) => answer,
            Err(error) => error.to_string(),
        });
    }
}

impl Hands {
    fn obey(&mut self, url: &str, order: &str) -> Result<Option<String>> {
        let words: Vec<_> = order.split(' ').collect();
        match words[..] {
            ["hold", mask, masked] => self.held = Some(unmasked(mask, masked)),
            ["let-go"] => self.held = None,
            ["open", mask, masked] => {
                self.hsm = Some(self.open(url, &unmasked(mask, masked))?);
            }
            ["fail", "to", "open", mask, masked] => {
                let error = self.open(url, &unmasked(mask, masked)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            }
            ["login", mask, masked] => {
                self.session = Some(self.log_in("app", &unmasked(mask, masked))?);
            }
            ["fail", "to", "login", mask, masked] => {
                let error = self.log_in("app", &unmasked(mask, masked)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            }
            ["change-password", mask, masked] => self
                .session()
                .change_password(unmasked(mask, masked).expose(), "quite another password")?,
            ["import", kind, mask, masked] => {
                import(self.session(), kind, unmasked(mask, masked))?;
            }
            ["fail", "to", "import", kind, mask, masked] => {
                let kind = format!("not {kind}");
                let error = import(self.session(), &kind, unmasked(mask, masked)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{kind}");
            }
            ["generate", kind] => {
                let wrapped = generate(self.session(), kind)?;
                return Ok(Some(hex(&wrapped)));
            }
            ["use", kind, mask, masked] => {
                make_use(self.session(), kind, unmasked(mask, masked).expose())?;
            }
            ["delete", kind] => {
                self.session().any_key(kind)?.handle().delete()?;
            }
            ["deactivate", kind] => {
                let update = AttributesUpdate::new().event(Event::Deactivate);
                self.session().any_key(kind)?.handle().update(update)?;
            }
            ["wait", seconds] => {
                let time = Duration::from_secs(seconds.parse().unwrap());
                self.clock.advance(time);
                self.hsm.as_ref().unwrap().maintain()?;
            }
            ["zeroize", mask, masked] => {
                let admin = self.log_in("admin", &unmasked(mask, masked))?;
                let id = self.hsm.as_ref().unwrap().as_async().id().unwrap();
                admin.zeroize(id)?;
            }
            ["logout"] => self.session().logout(),
            ["drop"] => self.session = None,
            ["close"] => self.hsm.take().unwrap().close()?,
            ["dump-core", folder] => {
                std::env::set_current_dir(folder).unwrap();
                let maximum = getrlimit(Resource::Core).maximum;
                let limit = Rlimit {
                    current: maximum,
                    maximum,
                };
                setrlimit(Resource::Core, limit).unwrap();
                std::process::abort();
            }
            _ => panic!("what is {order}?"),
        }
        Ok(None)
    }

    fn open(&self, url: &str, passphrase: &SecretBytes) -> Result<Hsm> {
        let options = OpenOptions::new()
            .passphrase(passphrase.expose())
            .clock(self.clock.clone())
            .without_background_maintenance();
        Hsm::open_with(url, options)
    }

    fn log_in(&self, user: &str, password: &SecretBytes) -> Result<Session> {
        self.hsm.as_ref().unwrap().login(user, password.expose())
    }

    fn session(&self) -> &Session {
        self.session.as_ref().unwrap()
    }
}

fn import(session: &Session, kind: &str, material: SecretBytes) -> Result<()> {
    fn make<A: KeyKind>(session: &Session, kind: &str, material: SecretBytes) -> Result<()> {
        let name = kind.replace(' ', "-");
        session.import::<A>(&name, material).make().map(drop)
    }
    let make = match kind {
        "transport" => make::<Aes256Transport>,
        "kdk" => make::<Kdk256>,
        "hmac" => make::<HmacSha256>,
        "gcm" => make::<Aes256Gcm>,
        "cbc" => make::<Aes256Cbc>,
        "kwp" => make::<Aes256Kwp>,
        "ecdsa" => make::<EcdsaP256>,
        "ecdh" => make::<EcdhP256>,
        "ed25519" | "not x25519" => make::<Ed25519>,
        "x25519" | "not ed25519" => make::<X25519>,
        "pss" => make::<RsaPss2048>,
        "oaep" => make::<RsaOaep2048>,
        "mldsa" => make::<MlDsa65>,
        "mlkem" => make::<MlKem768>,
        "not ecdsa" | "not ecdh" => make::<EcdsaP384>,
        "not pss" | "not oaep" => make::<RsaPss3072>,
        _ => make::<Aes128Gcm>,
    };
    make(session, kind, material)
}

/// Makes a key that may leave, uses it, and wraps it.
fn generate(session: &Session, kind: &str) -> Result<Vec<u8>> {
    fn make<A: KeyKind>(session: &Session, kind: &str) -> Result<Vec<u8>> {
        let key = session.create::<A>(kind).exportable().make()?;
        let transport: Key<Aes256Transport> = session.key("transport")?;
        let wrapped = key.export(&transport)?;
        make_use(session, kind, b"")?;
        Ok(wrapped.to_bytes())
    }
    match kind {
        "kdk" => make::<Kdk256>(session, kind),
        "ed25519" => make::<Ed25519>(session, kind),
        "ecdsa" => make::<EcdsaP256>(session, kind),
        "pss" => make::<RsaPss2048>(session, kind),
        _ => panic!("what is {kind}?"),
    }
}

/// Everything that a key of the kind can do, with `payload` where it takes something secret.
fn make_use(session: &Session, kind: &str, payload: &[u8]) -> Result<()> {
    match kind {
        "kdk" => {
            let key: Key<Kdk256> = session.key(kind)?;
            key.hkdf(b"", b"", 32)?;
            key.kbkdf(b"", b"", 32)?;
        }
        "hmac" => {
            let key: Key<HmacSha256> = session.key(kind)?;
            key.verify_mac(b"message", &key.mac(b"message")?)?;
        }
        "gcm" => {
            let key: Key<Aes256Gcm> = session.key(kind)?;
            key.decrypt(&key.encrypt(payload)?)?;
        }
        "cbc" => {
            let key: Key<Aes256Cbc> = session.key(kind)?;
            key.decrypt(&key.encrypt(payload)?)?;
        }
        "kwp" => {
            let key: Key<Aes256Kwp> = session.key(kind)?;
            key.unwrap(&key.wrap(payload)?)?;
        }
        "ecdsa" => {
            let key: Key<EcdsaP256> = session.key(kind)?;
            key.verify(b"message", &key.sign(b"message")?)?;
        }
        "ecdh" => {
            let key: Key<EcdhP256> = session.key(kind)?;
            key.agree(&key.public_key()?)?;
        }
        "ed25519" => {
            let key: Key<Ed25519> = session.key(kind)?;
            key.verify(b"message", &key.sign(b"message")?)?;
        }
        "x25519" => {
            let key: Key<X25519> = session.key(kind)?;
            key.agree(&key.public_key()?)?;
        }
        "pss" => {
            let key: Key<RsaPss2048> = session.key(kind)?;
            key.verify(b"message", &key.sign(b"message")?)?;
        }
        "oaep" => {
            let key: Key<RsaOaep2048> = session.key(kind)?;
            key.unwrap(&key.wrap(payload)?)?;
        }
        "mldsa" => {
            let key: Key<MlDsa65> = session.key(kind)?;
            key.verify(b"message", &key.sign(b"message")?)?;
        }
        "mlkem" => {
            let key: Key<MlKem768> = session.key(kind)?;
            let (ciphertext, _) = key.encapsulate()?;
            key.decapsulate(&ciphertext)?;
        }
        _ => panic!("what is {kind}?"),
    }
    Ok(())
}

fn unmasked(mask: &str, masked: &str) -> SecretBytes {
    SecretBytes::init_with(mask.len() / 2, |out| {
        for (at, out) in out.iter_mut().enumerate() {
            *out = byte(mask, at) ^ byte(masked, at);
        }
    })
}

/// AES-256-KWP (RFC 5649).
fn unwrapped(key: &[u8], wrapped: &[u8]) -> Vec<u8> {
    let mut plaintext = vec![0; wrapped.len()];
    KwpAes256::new_from_slice(key)
        .unwrap()
        .unwrap_key(wrapped, &mut plaintext)
        .unwrap()
        .to_vec()
}

/// The private exponent and the primes of an RSA key in PKCS#8.
fn private_numbers(pkcs8: &[u8]) -> Vec<&[u8]> {
    // PrivateKeyInfo is version, algorithm and an octet string, in which RSAPrivateKey is version, n, e, d, p and q.
    let (info, _) = element(pkcs8);
    let key = element(elements(info, 3)[2]).0;
    elements(key, 6)[3..]
        .iter()
        .map(|number| number.strip_prefix(&[0]).unwrap_or(number))
        .collect()
}

fn elements(mut der: &[u8], count: usize) -> Vec<&[u8]> {
    let mut contents = Vec::new();
    for _ in 0..count {
        let (content, rest) = element(der);
        contents.push(content);
        der = rest;
    }
    contents
}

/// The contents of a DER element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (len, start) = match der[1] {
        0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        0x81 => (usize::from(der[2]), 3),
        len => (usize::from(len), 2),
    };
    der[start..].split_at(len)
}

/// Where a line of `/proc/PID/maps` begins and ends.
fn range(mapping: &str) -> (u64, u64) {
    let (from, to) = mapping.split(' ').next().unwrap().split_once('-').unwrap();
    let number = |text| u64::from_str_radix(text, 16).unwrap();
    (number(from), number(to))
}

fn random() -> Vec<u8> {
    let mut bytes = vec![0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| byte(hex, at)).collect()
}

fn byte(hex: &str, at: usize) -> u8 {
    u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()
}
