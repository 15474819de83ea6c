//! Promise: no `Debug`, no `Display`, no error, no audit record and no file of the HSM contains a secret.
//!
//! Values of every public type that has to do with secrets are made with known ones, printed, and searched for these in
//! every form in which bytes are printed. A public type that this file does not know fails the test.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use hsm_backend_soft::{Protector, ProtectorFile, SoftDevice};
use hsm_backend_tpm::{TcpTransport, TpmDevice, TpmRoot};
use hsm_client::kinds::{Aes256Gcm, Aes256Kwp, EcdsaP256, HmacSha256, Kdk256};
use hsm_client::remote::{AccessToken, ClientCredentials, ManagedIdentity, StaticToken};
use hsm_client::{
    Algorithm, BuiltInRole, Error, Hsm, KeySpec, KeyType, OpenOptions, PageRequest, Result, Scope,
    SecretBytes, Setup, SignInput, Timestamp, Usage, Usages, UserUpdate, audit,
};
use hsm_core::key::KeyMaterial;
use hsm_core::{
    Binding, CiphertextRef, Credentials, DeriveParameters, Device, Encapsulated, Engine,
    NewKeyParameters, Parts, Principal, Request, Response, RootSealer, Service,
};
use hsm_store::{AuditLog, EmbeddedStore};
use hsm_testkit::{ManualClock, TpmSimulator};
use pollster::block_on;

/// Long enough not to turn up by chance, also as text.
const PASSWORD: &str = "gVkPz7Jd2MhXw9Qn-administrator";
const PASSPHRASE: &str = "tR5cBy8LsWq3Fj6K-passphrase";
const OTHER_PASSWORD: &str = "pN4xAz7ZoHa1Gi9D-other";
const PLAINTEXT: &[u8] = b"kE2vSm6YbTl8Cr0W-plaintext-of-the-caller";
const KEY: [u8; 32] = *b"\xd1\x4f\x93\xa8\x6c\x1e\xb7\x52\xf8\x0d\xe9\x74\x3b\xc6\x85\x2a\
\x9e\x61\xdf\x08\xb4\x57\xca\x7d\x13\xf6\x8b\x40\xe5\x39\x92\xac";

#[test]
fn nothing_that_is_printed_has_a_secret() {
    let mut printed = Printed::default();
    values(&mut printed).unwrap();
    materials(&mut printed);
    engine(&mut printed).unwrap();
    devices(&mut printed).unwrap();
    let folder = tempfile::tempdir().unwrap();
    client(&mut printed, folder.path()).unwrap();
    blocking(&mut printed).unwrap();
    remote(&mut printed).unwrap();
    envelope(&mut printed).unwrap();
    files(folder.path());

    let expected: BTreeSet<_> = PRINTED.iter().copied().collect();
    assert_eq!(printed.types, expected);
}

#[test]
fn nothing_of_a_tpm_that_is_printed_has_a_secret() {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("tpm");
    fs::create_dir(&state).unwrap();
    let simulator = TpmSimulator::start(&state);
    let connect = || TcpTransport::connect(simulator.address());
    let mut printed = Printed::default();

    let device = TpmDevice::create(connect().unwrap()).unwrap();
    let spec = KeySpec::new(KeyType::HmacSha256, Usages::of(&[Usage::Sign])).unwrap();
    let binding = Binding::new("test", &KEY);
    let made = block_on(device.import(secret(), &spec, &binding)).unwrap();
    let loaded = block_on(device.load(&made.sealed, &binding)).unwrap();
    printed.debug("backend-tpm device::TpmDevice", &device);
    printed.debug("backend-tpm device::TpmDevice", &(&made, &loaded));
    let short = SecretBytes::copy_from(&KEY[..31]);
    printed.error(&block_on(device.import(short, &spec, &binding)).unwrap_err());
    let other = Binding::new("test", PLAINTEXT);
    printed.error(&block_on(device.load(&made.sealed, &other)).unwrap_err());
    block_on(device.close()).unwrap();
    drop((loaded, device));

    let root = TpmRoot::connect(connect().unwrap()).unwrap();
    let sealer = root.sealer(None);
    let mut sealed = sealer.seal(&secret()).unwrap();
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    printed.error(&sealer.unseal(&sealed).unwrap_err());
    let counter = root.create_counter(&folder.path().join("counter")).unwrap();
    printed.debug("backend-tpm trust::TpmRoot", &root);
    printed.debug("backend-tpm sealer::TpmSealer", &sealer);
    printed.debug("backend-tpm counter::TpmCounter", &counter);
    let expected = PRINTED_OF_A_TPM.iter().chain(&["core error::Error"]);
    assert_eq!(printed.types, expected.copied().collect());
}

#[test]
fn every_public_type_is_considered() {
    let mut found = BTreeSet::new();
    for_each_source(|path, text| public_types(path, text, &mut found));
    let listed = || {
        let printed = PRINTED.iter().chain(PRINTED_OF_A_TPM);
        printed.chain(NO_SECRETS).copied()
    };
    let known: BTreeSet<_> = listed().map(str::to_owned).collect();
    assert_eq!(known.len(), listed().count(), "one is listed twice");
    let missing: Vec<_> = found.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "print these in this file, or list them with what carries no secret: {missing:?}"
    );
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "these are no more: {gone:?}");
}

/// `expose` gives bytes, which `==` compares until the first difference. `subtle` does not stop there.
#[test]
fn exposed_bytes_are_compared_by_subtle_only() {
    let mut looked_at = 0;
    for_each_source(|path, text| {
        // Answers that everybody knows.
        if path.ends_with("self_test.rs") {
            return;
        }
        let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
        for statement in code.split([';', '{', '}']) {
            let code = statement
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let code: String = code.collect();
            if code.contains(".expose()") && !FORMS.iter().any(|form| code.contains(form)) {
                looked_at += 1;
                let compares = [
                    "==",
                    "!=",
                    ".eq(",
                    ".ne(",
                    ".cmp(",
                    "starts_with",
                    "matches!",
                ];
                let leak = compares.iter().find(|compare| code.contains(*compare));
                assert_eq!(leak, None, "{}: {code}", path.display());
            }
        }
    });
    assert!(looked_at > 20, "{looked_at}");
}

/// Checks of how an encoding begins, which say nothing of the secret in it.
const FORMS: [&str; 2] = [
    ".expose().first().is_none_or(|byte| *byte == 0)",
    ".expose().iter().take_while(|byte| **byte == 0)",
];

/// A search that finds nothing proves nothing.
#[test]
fn the_search_finds_every_form() {
    for text in [
        format!("{KEY:?}"),
        format!("{KEY:#?}"),
        format!("{KEY:02x?}"),
        format!("{:?}", String::from_utf8_lossy(PLAINTEXT)),
        hex(&KEY),
        hex(&KEY).to_uppercase(),
        "0U+TqGwet1L4Del0O8aFKp5h3wi0V8p9E/aLQOU5kqw=".to_owned(),
        "0U-TqGwet1L4Del0O8aFKp5h3wi0V8p9E_aLQOU5kqw".to_owned(),
        format!("a {PASSWORD} b"),
    ] {
        assert!(secret_in(text.as_bytes()).is_some(), "{text}");
    }
    assert!(secret_in(&[b"x", &KEY[..], b"y"].concat()).is_some());
    assert_eq!(secret_in(b"SecretBytes(32 bytes)"), None);
}

/// Types whose values are printed below with secrets in them or near them.
const PRINTED: &[&str] = &[
    "backend-soft device::SoftDevice",
    "backend-soft protector::Protector",
    "backend-soft protector::ProtectorFile",
    "client any::AnyKey",
    "client audit::Record",
    "client audit::Report",
    "client auth::AccessToken",
    "client blocking::AnyKey",
    "client blocking::CreateKey",
    "client blocking::Hsm",
    "client blocking::Key",
    "client blocking::Session",
    "client create::CreateKey",
    "client envelope::Envelope",
    "client header::Header",
    "client hsm::Hsm",
    "client hsm::OpenOptions",
    "client hsm::Setup",
    "client key::Key",
    "client made::Encrypted",
    "client made::Signature",
    "client made::Wrapped",
    "client session::Session",
    "client signature::BlockingSigner",
    "client signature::Signer",
    "client sources::ClientCredentials",
    "client sources::ManagedIdentity",
    "client sources::StaticToken",
    "client stream::Decryptor",
    "client stream::Encryptor",
    "core chain::Frame",
    "core device::Ciphertext",
    "core device::CiphertextRef",
    "core device::DeriveParameters",
    "core device::Encapsulated",
    "core device::NewKey",
    "core device::SignInput",
    "core engine::Engine",
    "core engine::Parts",
    "core engine::Setup",
    "core error::Error",
    "core material::KeyMaterial",
    "core record::Entry",
    "core record::Event",
    "core request::KeyInfo",
    "core request::Request",
    "core request::Response",
    "core request::TokenInfo",
    "core request::UserInfo",
    "core request::UserUpdate",
    "core sealed::Binding",
    "core sealed::SealedKey",
    "core secret::SecretBytes",
    "core service::Credentials",
    "core session::EngineSession",
];

/// Those that are printed where there is a TPM.
const PRINTED_OF_A_TPM: &[&str] = &[
    "backend-tpm counter::TpmCounter",
    "backend-tpm device::TpmDevice",
    "backend-tpm sealer::TpmSealer",
    "backend-tpm trust::TpmRoot",
];

/// Types that have no place for a secret: names, numbers, choices, public keys, sealed or wrapped bytes.
const NO_SECRETS: &[&str] = &[
    "attestation error::KeyAttribute",
    "attestation error::Statement",
    "attestation error::VerifyError",
    "attestation tpm::TpmState",
    "attestation tpm::VerifiedTpm",
    "attestation verifier::Level",
    "attestation verifier::VerifiedKey",
    "attestation verifier::Verifier",
    "backend-soft device::FipsStatus",
    "backend-soft options::CryptoProvider",
    "backend-soft options::SoftDeviceOptions",
    "backend-soft protector::ProtectorKind",
    "backend-tpm kernel::KernelTransport",
    "backend-tpm root::RootName",
    "backend-tpm tcp::TcpTransport",
    "backend-tpm transport::Sharing",
    "client acceptor::Acceptor",
    "client acceptor::Connector",
    "client auth::Challenge",
    "client authority::CertificateAuthority",
    "client cache::CacheLimits",
    "client clock::SystemClock",
    "client cms::DetachedSignature",
    "client compact::Compact",
    "client identity::ByName",
    "client identity::Identity",
    "client issuer::Issuer",
    "client issuer::IssuerBuilder",
    "client made::Encapsulation",
    "client profile::Profile",
    "client rcgen::RcgenKey",
    "client recipient::Recipient",
    "client request::CertificateRequest",
    "client seal::TpmSeal",
    "client signer::DocumentSigner",
    "client signer::VersionSigner",
    "client signer::VersionVerifier",
    "client signing_key::SigningKey",
    "client tickets::Tickets",
    "client trust::Purpose",
    "client trust::Trust",
    "client url::Address",
    "client url::TpmAddress",
    "client url::Url",
    "client verifier::Verifier",
    "client verify::SignedBy",
    "core action::ActionSet",
    "core action::DataAction",
    "core algorithm::Algorithm",
    "core algorithm::AlgorithmInfo",
    "core algorithm::Hash",
    "core algorithm::KeyFamily",
    "core algorithm::KeyType",
    "core algorithm::KeyTypeInfo",
    "core algorithm::Operation",
    "core approval::Approval",
    "core attestation::AttestRequest",
    "core attestation::AttestationKeyId",
    "core attestation::Evidence",
    "core attestation::Nonce",
    "core attestation::Pcrs",
    "core attributes::Attributes",
    "core attributes::AttributesUpdate",
    "core attributes::Origin",
    "core attributes::Tags",
    "core authorize::Grants",
    "core authorize::Permit",
    "core boot_state::PcrSelection",
    "core capability::Capabilities",
    "core chain::Chain",
    "core chain::ChainHead",
    "core chain::StreamId",
    "core clock::Timestamp",
    "core device::WrappedFormat",
    "core engine::EngineStatus",
    "core engine::Opening",
    "core error::ErrorKind",
    "core id::KeyName",
    "core id::KeyRef",
    "core id::VersionId",
    "core jwk::Jwk",
    "core lifecycle::Event",
    "core lifecycle::State",
    "core maintenance::Maintenance",
    "core period::Period",
    "core public::PublicKey",
    "core record::Checkpoint",
    "core record::RequestId",
    "core record::StreamEvent",
    "core report::Claims",
    "core report::KeyReport",
    "core report::Proof",
    "core report::Quote",
    "core report::Signed",
    "core report::TpmProof",
    "core report::Unsigned",
    "core request::Deletion",
    "core request::IfTaken",
    "core request::NewKeyParameters",
    "core request::Page",
    "core request::PageRequest",
    "core request::PartitionInfo",
    "core request::Recovery",
    "core request::Settings",
    "core request::SettingsUpdate",
    "core role::BuiltInRole",
    "core role::RoleAssignment",
    "core role::RoleDefinition",
    "core role::RoleId",
    "core rotation::Action",
    "core rotation::LifetimeAction",
    "core rotation::RotationPolicy",
    "core rotation::Trigger",
    "core scope::Scope",
    "core service::Principal",
    "core service::TokenName",
    "core spec::KeySpec",
    "core spec::Usage",
    "core spec::Usages",
    "core store::Space",
    "core typed::Kdk256",
    "core verify::Flaw",
    "core verify::StreamMarks",
    "core verify::StreamVerifier",
    "core verify::Verified",
    "store audit_log::AuditLog",
    "store embedded::EmbeddedStore",
    "store segment::StreamFiles",
    // Its keys are looked for in `tls/resumption.rs`.
];

fn values(printed: &mut Printed) -> Result<()> {
    printed.debug("core secret::SecretBytes", &secret());
    printed.debug("core device::SignInput", &SignInput::Message(PLAINTEXT));
    printed.debug(
        "core device::SignInput",
        &SignInput::Digest(&PLAINTEXT[..32]),
    );
    let credentials = Credentials::password("admin", PASSWORD)?;
    printed.debug("core service::Credentials", &credentials);
    let update = UserUpdate::Password(SecretBytes::copy_from(PASSWORD.as_bytes()));
    printed.debug("core request::UserUpdate", &update);
    printed.debug("core request::Response", &Response::Secret(secret()));
    let new = NewKeyParameters::new(spec()?);
    for request in [
        Request::ImportKey {
            name: "key".parse()?,
            new,
            material: secret(),
        },
        Request::CreateUser {
            name: Principal::new("app")?,
            password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        },
        Request::UpdateUser {
            name: Principal::new("app")?,
            update,
        },
        Request::ChangePassword {
            old: SecretBytes::copy_from(PASSWORD.as_bytes()),
            new: SecretBytes::copy_from(OTHER_PASSWORD.as_bytes()),
        },
        Request::Sign {
            key: "key".parse()?,
            algorithm: Algorithm::Es256,
            input: SignInput::Message(PLAINTEXT),
        },
        Request::Verify {
            key: "key".parse()?,
            algorithm: Algorithm::Es256,
            input: SignInput::Message(PLAINTEXT),
            signature: b"",
        },
        Request::Mac {
            key: "key".parse()?,
            algorithm: Algorithm::Hs256,
            message: PLAINTEXT,
        },
        Request::VerifyMac {
            key: "key".parse()?,
            algorithm: Algorithm::Hs256,
            message: PLAINTEXT,
            tag: b"",
        },
        Request::Encrypt {
            key: "key".parse()?,
            algorithm: Algorithm::A256Gcm,
            plaintext: PLAINTEXT,
            iv: None,
            aad: PLAINTEXT,
        },
        Request::Decrypt {
            key: "key".parse()?,
            algorithm: Algorithm::A256Gcm,
            ciphertext: CiphertextRef {
                ciphertext: b"",
                iv: b"",
                tag: b"",
            },
            aad: PLAINTEXT,
        },
        Request::Wrap {
            key: "key".parse()?,
            algorithm: Algorithm::A256Kw,
            plaintext: &KEY,
        },
        Request::Derive {
            key: "key".parse()?,
            algorithm: Algorithm::HkdfSha256,
            salt_or_label: PLAINTEXT,
            info_or_context: PLAINTEXT,
            len: 32,
        },
    ] {
        printed.debug("core request::Request", &request);
    }
    let parameters = DeriveParameters {
        salt_or_label: b"",
        info_or_context: b"",
    };
    printed.debug("core device::DeriveParameters", &parameters);
    Ok(())
}

/// Private keys from other formats, right and wrong.
fn materials(printed: &mut Printed) {
    let pem = |base64: &str| {
        KeyMaterial::from_pem(
            format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n")
                .as_bytes(),
        )
    };
    let jwk = |k: &str| KeyMaterial::from_jwk(format!(r#"{{"kty":"oct","k":{k}}}"#).as_bytes());
    let (pkcs8_text, d) = (base64(&pkcs8(), b"+/"), base64(&KEY[..30], b"-_"));
    let right = [
        KeyMaterial::from_pkcs8_der(&pkcs8()),
        pem(&pkcs8_text),
        jwk(&format!("\"{d}kqw\"")),
    ];
    assert!(right.iter().all(Result::is_ok), "{right:?}");
    let wrong = [
        KeyMaterial::from_pkcs8_der(&KEY),
        KeyMaterial::from_pkcs8_der(&pkcs8()[..40]),
        KeyMaterial::from_pem(KEY),
        KeyMaterial::from_pem(PASSWORD.as_bytes()),
        pem(&format!("{pkcs8_text}!")),
        pem(&pkcs8_text[..40]),
        KeyMaterial::from_jwk(&KEY),
        KeyMaterial::from_jwk(format!("\"{d}\"").as_bytes()),
        jwk(&format!("\"{d}!\"")),
        jwk(&format!("\"{d}\"")),
        jwk(&format!("[\"{d}\"]")),
        jwk(&format!("\"{d}\",\"k\":\"{d}\"")),
    ];
    for outcome in right.into_iter().chain(wrong) {
        match outcome {
            Ok(material) => printed.debug("core material::KeyMaterial", &material),
            Err(error) => printed.error(&error),
        }
    }
}

/// An engine of parts, and what it keeps.
fn engine(printed: &mut Printed) -> Result<()> {
    let clock = Arc::<ManualClock>::default();
    let parts = Parts {
        device: Arc::new(SoftDevice::in_memory()?),
        store: Arc::new(EmbeddedStore::in_memory()?),
        audit: Arc::new(AuditLog::in_memory(clock.clone())?),
        clock,
    };
    let setup = hsm_core::Setup {
        administrator: Principal::new("admin")?,
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: hsm_client::Settings::default(),
    };
    printed.debug("core engine::Setup", &setup);
    let engine = block_on(Engine::create(parts.clone(), setup))?;
    let credentials = Credentials::password("admin", PASSWORD)?;
    let session = block_on(engine.login(credentials))?;
    printed.debug("core session::EngineSession", &session);
    printed.debug("core engine::Engine", &engine);
    printed.debug("core engine::Parts", &parts);
    Ok(())
}

/// Devices, what they make, and how they refuse keys.
fn devices(printed: &mut Printed) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let domain = folder.path().join("domain");
    let key_file = Protector::KeyFile(file);
    SoftDevice::create(&domain, &key_file)?;
    let passphrase = |text: &str| Protector::Passphrase(SecretBytes::copy_from(text.as_bytes()));
    let device = SoftDevice::open(&domain, &key_file)?;
    device.change_protector(&passphrase(PASSPHRASE))?;
    printed.error(&SoftDevice::open(&domain, &key_file).unwrap_err());
    printed.error(&SoftDevice::open(&domain, &passphrase(OTHER_PASSWORD)).unwrap_err());
    printed.debug("backend-soft protector::Protector", &key_file);
    printed.debug("backend-soft protector::Protector", &passphrase(PASSPHRASE));
    let decoded = ProtectorFile::decode(&fs::read(&domain).unwrap())?;
    printed.debug("backend-soft protector::ProtectorFile", &decoded);

    let binding = Binding::new("test", &KEY);
    printed.debug("core sealed::Binding", &binding);
    let made = block_on(device.import(secret(), &spec()?, &binding))?;
    printed.debug("core device::NewKey", &made);
    printed.debug("core sealed::SealedKey", &made.sealed);
    let encapsulated = Encapsulated {
        ciphertext: vec![1],
        secret: secret(),
    };
    printed.debug("core device::Encapsulated", &encapsulated);
    let loaded = block_on(device.load(&made.sealed, &binding))?;
    printed.debug("backend-soft device::SoftDevice", &device);
    printed.debug("backend-soft device::SoftDevice", &loaded);

    // Bytes that are no key, or a key of another type or length.
    for key_type in KeyType::all() {
        let usages = [
            Usage::Sign,
            Usage::Encrypt,
            Usage::DeriveKey,
            Usage::DeriveBits,
            Usage::Decapsulate,
        ]
        .iter()
        .find_map(|usage| KeySpec::new(key_type, Usages::of(&[*usage])).ok());
        let spec = usages.unwrap();
        for material in [
            &KEY[..],
            &KEY[..31],
            &[&KEY[..], &KEY[..]].concat(),
            &pkcs8(),
        ] {
            let material = SecretBytes::copy_from(material);
            match block_on(device.import(material, &spec, &binding)) {
                Err(error) => printed.error(&error),
                Ok(made) => {
                    let loaded = block_on(device.load(&made.sealed, &binding))?;
                    printed.debug("core device::NewKey", &(made, loaded));
                }
            }
        }
    }
    Ok(())
}

/// A client of an HSM in a folder, and its audit log.
fn remote(printed: &mut Printed) -> Result<()> {
    let token = AccessToken::new(PASSWORD).expires_in(Duration::from_secs(60));
    printed.debug("client auth::AccessToken", &token);
    let token = StaticToken::new(PASSWORD);
    printed.debug("client sources::StaticToken", &token);
    let app = ManagedIdentity::app("http://localhost/token", PASSWORD);
    printed.debug("client sources::ManagedIdentity", &app);
    let credentials = ClientCredentials::new("client", PASSWORD);
    printed.debug("client sources::ClientCredentials", &credentials);
    let options = OpenOptions::new()
        .token_source(credentials)
        .proxy(format!("http://user:{PASSWORD}@localhost:1"))
        .attempts(1);
    printed.debug("client hsm::OpenOptions", &options);
    block_on(async {
        // Nothing is there: what is printed of the attempt has nothing of what it would have shown.
        let hsm = Hsm::open_with("https://localhost:1", options).await?;
        printed.debug("client hsm::Hsm", &hsm);
        printed.error(&hsm.login("app", PASSWORD).await.unwrap_err());
        let token = Credentials::token(PASSWORD);
        printed.error(&hsm.login_with(token).await.unwrap_err());
        let connection = hsm.login_with(Credentials::Connection).await;
        printed.error(&connection.unwrap_err());
        let token = Credentials::token(format!("{PASSWORD}\n"));
        printed.error(&hsm.login_with(token).await.unwrap_err());
        Ok(())
    })
}

fn client(printed: &mut Printed, folder: &Path) -> Result<()> {
    let path = folder.join("dev.hsm");
    let url = format!("soft:{}", path.display());
    let setup = Setup::new("admin", PASSWORD).passphrase(PASSPHRASE);
    printed.debug("client hsm::Setup", &setup);
    block_on(async {
        Hsm::create(&url, setup).await?.close().await?;
        printed.error(&Hsm::open(&url).await.unwrap_err());
        let options = OpenOptions::new().passphrase(OTHER_PASSWORD);
        printed.error(&Hsm::open_with(&url, options).await.unwrap_err());
        let options = OpenOptions::new().passphrase(PASSPHRASE);
        printed.debug("client hsm::OpenOptions", &options);
        let hsm = Hsm::open_with(&url, options).await?;
        printed.debug("client hsm::Hsm", &hsm);
        let audit_key = hsm.audit_key().unwrap().clone();

        let admin = hsm.login("admin", PASSWORD).await?;
        admin.create_user("app", PASSWORD).await?;
        let role = BuiltInRole::CryptoUser;
        admin.assign_role(role, "app", Scope::Keys).await?;
        // A password in place of the name is what a hurried user types; it has no place in the log.
        printed.error(&hsm.login("app", OTHER_PASSWORD).await.unwrap_err());
        printed.error(&admin.create_user("app", PASSWORD).await.unwrap_err());
        printed.error(&admin.create_user("new", &PASSWORD[..7]).await.unwrap_err());
        let long = PASSWORD.repeat(100);
        printed.error(&admin.create_user("new", &long).await.unwrap_err());
        let update = UserUpdate::Password(SecretBytes::copy_from(PASSWORD.as_bytes()));
        admin.update_user("app", update).await?;
        let wrong = admin.change_password(OTHER_PASSWORD, PASSWORD).await;
        printed.error(&wrong.unwrap_err());
        for user in admin.list_users(PageRequest::default()).await?.items {
            printed.debug("core request::UserInfo", &user);
        }

        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let year = Timestamp::from_unix_seconds(now.unwrap().as_secs() + 365 * 24 * 60 * 60);
        let (token, info) = admin.create_token("nightly", "app", year).await?;
        printed.debug("core request::TokenInfo", &info);
        let text = String::from_utf8_lossy(token.expose()).into_owned();
        let credentials = Credentials::token(&text);
        let shown = format!("{token:?} {credentials:?} {info:?}");
        assert!(!shown.contains(&text["hsm_t_".len()..]), "{shown}");
        printed.debug("core service::Credentials", &credentials);
        drop(hsm.login_with(credentials).await?);
        let wrong = hsm.login_with(Credentials::token(PASSWORD)).await;
        printed.error(&wrong.unwrap_err());

        let app = hsm.login("app", PASSWORD).await?;
        printed.debug("client session::Session", &app);
        let import = app.import::<Aes256Gcm>("gcm", secret());
        printed.debug("client create::CreateKey", &import);
        let gcm = import.await?;
        printed.debug("client key::Key", &gcm);
        printed.debug("client any::AnyKey", &app.any_key("gcm").await?);
        printed.debug("core request::KeyInfo", &gcm.info().await?);
        let encrypted = gcm.encrypt(PLAINTEXT).await?;
        printed.debug("client made::Encrypted", &encrypted);
        printed.debug("core device::Ciphertext", encrypted.ciphertext());
        printed.debug(
            "core device::CiphertextRef",
            &encrypted.ciphertext().as_ref(),
        );
        printed.debug("core secret::SecretBytes", &gcm.decrypt(&encrypted).await?);
        let wrong = gcm.decrypt_with_aad(&encrypted, PLAINTEXT).await;
        printed.error(&wrong.unwrap_err());
        let kwp = app.import::<Aes256Kwp>("kwp", secret()).await?;
        let wrapped = kwp.wrap(&KEY).await?;
        printed.debug("client made::Wrapped", &wrapped);
        kwp.unwrap(&wrapped).await?;
        let hmac = app.import::<HmacSha256>("hmac", secret()).await?;
        let tag = hmac.mac(PLAINTEXT).await?;
        printed.debug("client made::Signature", &tag);
        printed.error(&hmac.verify_mac(&KEY, &tag).await.unwrap_err());
        let signer = app.create::<EcdsaP256>("signer").await?.signer().await?;
        printed.debug("client signature::Signer", &signer);
        printed.debug("client signature::BlockingSigner", &signer.blocking());
        let kdk = app.import::<Kdk256>("kdk", secret()).await?;
        kdk.hkdf(PLAINTEXT, PLAINTEXT, 32).await?;
        let wrong = app.import::<EcdsaP256>("ecdsa", secret()).await;
        printed.error(&wrong.unwrap_err());
        let wrong = app.import::<Aes256Gcm>("gcm", secret()).await;
        printed.error(&wrong.unwrap_err());
        printed.debug("client hsm::Hsm", &hsm);

        for stream in admin.audit_streams().await? {
            for frame in admin.read_audit(stream, 0, 1000).await? {
                printed.debug("core chain::Frame", &frame);
                printed.debug("core record::Entry", &frame.decode()?);
            }
        }
        drop((admin, app, gcm, kwp, hmac, kdk));
        hsm.close().await?;
        let report = audit::verify(&url, &audit_key, |record| {
            printed.debug("client audit::Record", &record);
            printed.display("core record::Event", &record.event);
            printed.debug("core record::Event", &record.event);
        })?;
        printed.debug("client audit::Report", &report);
        Ok(())
    })
}

fn blocking(printed: &mut Printed) -> Result<()> {
    use hsm_client::blocking::Hsm;
    let hsm = Hsm::create("memory:", Setup::new("admin", PASSWORD))?;
    let admin = hsm.login("admin", PASSWORD)?;
    let role = BuiltInRole::CryptoUser;
    admin.create_user("app", PASSWORD)?;
    admin.assign_role(role, "app", Scope::Keys)?;
    let app = hsm.login("app", PASSWORD)?;
    let import = app.import::<Aes256Gcm>("gcm", secret());
    printed.debug("client blocking::CreateKey", &import);
    let key = import.make()?;
    key.encrypt(PLAINTEXT)?;
    printed.debug("client blocking::Key", &key);
    printed.debug("client blocking::AnyKey", &app.any_key("gcm")?);
    printed.debug("client blocking::Session", &app);
    printed.debug("client blocking::Hsm", &hsm);
    Ok(())
}

/// Encrypted data on its way in and out.
fn envelope(printed: &mut Printed) -> Result<()> {
    use std::io::{Read, Write};

    use hsm_client::blocking::{Envelope, Hsm};
    let hsm = Hsm::create("memory:", Setup::new("admin", PASSWORD))?;
    let admin = hsm.login("admin", PASSWORD)?;
    admin.assign_role(BuiltInRole::CryptoUser, "admin", Scope::Keys)?;
    let kek = admin.import::<Aes256Kwp>("kek", secret()).make()?;
    let envelope = Envelope::new(&admin, &kek);
    let mut encryptor = envelope.encrypt_to(Vec::new(), PLAINTEXT)?;
    encryptor.write_all(PLAINTEXT).unwrap();
    printed.debug("client stream::Encryptor", &encryptor);
    let mut sealed = encryptor.finish().unwrap();
    let mut decryptor = envelope.decrypt_from(&sealed[..], PLAINTEXT)?;
    decryptor.read_exact(&mut [0; 1]).unwrap();
    printed.debug("client stream::Decryptor", &decryptor);
    let (header, _) = hsm_client::envelope::Header::split(&sealed)?;
    printed.debug("client header::Header", &header);
    printed.debug("client envelope::Envelope", &envelope);
    *sealed.last_mut().unwrap() ^= 1;
    printed.error(&envelope.open(&sealed, PLAINTEXT).unwrap_err());
    Ok(())
}

/// Store, audit log and protector file.
fn files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path);
        } else if let Some(secret) = secret_in(&fs::read(&path).unwrap()) {
            panic!("{secret} is in {}", path.display());
        }
    }
}

/// What was printed so far.
#[derive(Default)]
struct Printed {
    types: BTreeSet<&'static str>,
}

impl Printed {
    #[track_caller]
    fn debug(&mut self, of: &'static str, value: &impl Debug) {
        self.types.insert(of);
        self.check(&format!("{value:?}"));
        self.check(&format!("{value:#?}"));
    }

    #[track_caller]
    fn display(&mut self, of: &'static str, value: &impl Display) {
        self.types.insert(of);
        self.check(&value.to_string());
    }

    /// The error, and what it names as its causes.
    #[track_caller]
    fn error(&mut self, error: &Error) {
        self.debug("core error::Error", error);
        self.display("core error::Error", error);
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            self.check(&format!("{error} {error:?} {error:#?}"));
            source = error.source();
        }
    }

    #[track_caller]
    fn check(&self, text: &str) {
        if let Some(secret) = secret_in(text.as_bytes()) {
            panic!("{secret} is in {text}");
        }
    }
}

/// The secret that is in `bytes`, in some form.
fn secret_in(bytes: &[u8]) -> Option<&'static str> {
    // `{:#?}` puts every number on a line of its own.
    let dense: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let is_in = |form: &[u8]| memchr::memmem::find(&dense, form).is_some();
    let secrets: [(&str, &[u8]); 5] = [
        ("the key", &KEY),
        ("the password", PASSWORD.as_bytes()),
        ("the passphrase", PASSPHRASE.as_bytes()),
        ("the other password", OTHER_PASSWORD.as_bytes()),
        ("the plaintext", PLAINTEXT),
    ];
    secrets
        .into_iter()
        .find(|(_, secret)| {
            // The first bytes are enough to be a leak.
            let part = &secret[..12];
            let list = |number: fn(&u8) -> String| {
                let numbers: Vec<_> = part.iter().map(number).collect();
                numbers.join(",")
            };
            let forms = [
                hex(part),
                hex(part).to_uppercase(),
                list(u8::to_string),
                list(|byte| format!("{byte:x}")),
                list(|byte| format!("{byte:02x}")),
                base64(part, b"+/"),
                base64(part, b"-_"),
            ];
            memchr::memmem::find(bytes, part).is_some()
                || forms.iter().any(|form| is_in(form.as_bytes()))
        })
        .map(|(name, _)| name)
}

/// Base64 of a multiple of three bytes, with the last two of its 64 signs.
fn base64(bytes: &[u8], last: &[u8; 2]) -> String {
    let signs: Vec<u8> = (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain(*last)
        .collect();
    let groups = bytes.chunks(3).flat_map(|group| {
        let number = group
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| signs[number >> shift & 63])
    });
    String::from_utf8(groups.collect()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn secret() -> SecretBytes {
    SecretBytes::copy_from(&KEY)
}

fn spec() -> Result<KeySpec> {
    KeySpec::new(KeyType::Aes256, Usages::of(&[Usage::Encrypt]))
}

/// An Ed25519 key (RFC 8410 section 7).
fn pkcs8() -> Vec<u8> {
    [b"0.\x02\x01\x000\x05\x06\x03+ep\x04\"\x04 ", &KEY[..]].concat()
}

/// Goes through the source of every member that is published.
fn for_each_source(mut body: impl FnMut(&Path, &str)) {
    let mut folders: Vec<_> = MEMBERS
        .map(|member| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../hsm-{member}/src")))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                body(&path, &fs::read_to_string(&path).unwrap());
            }
        }
    }
}

const MEMBERS: [&str; 6] = [
    "core",
    "backend-soft",
    "backend-tpm",
    "attestation",
    "store",
    "client",
];

/// Every `pub struct` and `pub enum` of a file, as `member file::Name`.
fn public_types(path: &Path, text: &str, found: &mut BTreeSet<String>) {
    let file = path.file_stem().unwrap().to_str().unwrap();
    let is_member = |member: &&&str| {
        path.to_str()
            .unwrap()
            .contains(&format!("/hsm-{member}/src/"))
    };
    let member = MEMBERS.iter().find(is_member).unwrap();
    for line in text.lines() {
        let Some(rest) = line.trim_start().strip_prefix("pub ") else {
            continue;
        };
        let kinds = ["struct ", "enum ", "union "];
        let Some(rest) = kinds.iter().find_map(|kind| rest.strip_prefix(kind)) else {
            continue;
        };
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        // Macros name what they make by a variable.
        if !name.is_empty() {
            found.insert(format!("{member} {file}::{name}"));
        }
    }
}
