//! The key report of a key in a simulated TPM is verified; one that is wrong in one thing is refused with its own error; and
//! its quote is verified by `tpm2_checkquote`.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/authority.rs"]
mod authority;
#[path = "simulated/tools.rs"]
mod tools;

use std::fs;
use std::process::Command;

use authority::Authority;
use futures_executor::block_on;
use hsm_attestation::{KeyAttribute, Level, Nonce, Pcrs, VerifiedKey, Verifier, VerifyError};
use hsm_backend_tpm::{TcpTransport, TpmDevice};
use hsm_core::attestation::{AttestRequest, Evidence, Proof, TpmProof};
use hsm_core::{Binding, Device, KeySpec, KeyType, NewKey, SecretBytes, Usage, Usages};
use hsm_testkit::TpmSimulator;
use tempfile::TempDir;

struct Machine {
    simulator: TpmSimulator,
    folder: TempDir,
}

impl Machine {
    fn new() -> Option<Self> {
        if let Some(reason) = TpmSimulator::missing()
            .or_else(tools::missing)
            .or_else(authority::missing)
        {
            eprintln!("skipped: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        let simulator = TpmSimulator::start(&state);
        Some(Self { simulator, folder })
    }

    fn device(&self) -> TpmDevice {
        let transport = TcpTransport::connect(self.simulator.address()).unwrap();
        TpmDevice::create(transport).unwrap()
    }

    fn tool(&self, tool: &str, arguments: &[&str]) -> String {
        tools::run(&self.simulator, tool, arguments)
    }

    fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Puts an endorsement certificate where a maker of TPMs does.
    fn write_certificate(&self, certificate: &[u8]) {
        let file = self.file("endorsement.der", certificate);
        let size = certificate.len().to_string();
        let attributes = "ownerread|ppread|authread|ownerwrite|ppwrite|no_da";
        self.tool(
            "tpm2_nvdefine",
            &["-C", "o", "-s", &size, "-a", attributes, "0x1c0000a"],
        );
        self.tool("tpm2_nvwrite", &["-C", "o", "-i", &file, "0x1c0000a"]);
    }
}

fn binding() -> Binding {
    Binding::new("test", b"a key")
}

fn spec(key_type: KeyType) -> KeySpec {
    let usages = match key_type {
        KeyType::Aes256 => Usages::of(&[Usage::Encrypt, Usage::Decrypt]),
        KeyType::Kdk256 => Usages::of(&[Usage::DeriveKey]),
        _ => Usages::of(&[Usage::Sign, Usage::Verify]),
    };
    KeySpec::new(key_type, usages).unwrap()
}

fn make(device: &TpmDevice, key_type: KeyType) -> NewKey {
    block_on(device.generate(&spec(key_type), &binding())).unwrap()
}

fn nonce() -> Nonce {
    Nonce::new([7; 32]).unwrap()
}

fn attest(device: &TpmDevice, key: &NewKey, pcrs: &[u8]) -> Evidence {
    let request = AttestRequest::new(nonce()).with_pcrs(Pcrs::of(pcrs).unwrap());
    block_on(device.attest(&key.sealed, &binding(), &request)).unwrap()
}

fn verify(verifier: Verifier, evidence: &Evidence) -> Result<VerifiedKey, VerifyError> {
    verifier.verify(evidence.as_bytes())
}

/// Trusts the attestation key of the report, as somebody does who enrolled the machine.
fn enrolled(evidence: &Evidence) -> Verifier {
    let report = evidence.decode().unwrap();
    Verifier::new(nonce()).trust_attestation_key(report.claims().attestation_key)
}

fn proof(evidence: &Evidence) -> TpmProof {
    match evidence.decode().unwrap().proof() {
        Proof::Tpm(proof) => (**proof).clone(),
        other => panic!("not of a TPM: {other:?}"),
    }
}

#[test]
fn keys_of_every_kind_are_reported() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    for key_type in [
        KeyType::EcP256,
        KeyType::Rsa2048,
        KeyType::HmacSha256,
        KeyType::Aes256,
        KeyType::Kdk256,
    ] {
        let key = make(&device, key_type);
        let evidence = attest(&device, &key, &[]);
        let verified = verify(enrolled(&evidence), &evidence).unwrap();
        assert_eq!(verified.level(), Level::Tpm);
        assert_eq!(verified.public_key(), key.public.as_ref(), "{key_type}");
        assert_eq!(*verified.spec(), spec(key_type));
        assert_eq!(verified.tpm().unwrap().key_name().len(), 34);
    }
    block_on(device.close()).unwrap();
    for kind in ["handles-transient", "handles-loaded-session"] {
        assert_eq!(machine.tool("tpm2_getcap", &[kind]), "", "{kind}");
    }
}

#[test]
fn the_attestation_key_is_the_same_after_a_reset_and_another_in_another_tpm() {
    let (Some(mut machine), Some(other)) = (Machine::new(), Machine::new()) else {
        return;
    };
    let id = |machine: &Machine| {
        let device = machine.device();
        let evidence = attest(&device, &make(&device, KeyType::EcP256), &[]);
        block_on(device.close()).unwrap();
        evidence.decode().unwrap().claims().attestation_key
    };
    let before = id(&machine);
    machine.simulator.power_cycle();
    assert_eq!(id(&machine), before);
    assert_ne!(id(&other), before);
}

#[test]
fn what_is_wrong_with_a_report_is_said() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    let (key, other) = (
        make(&device, KeyType::EcP256),
        make(&device, KeyType::EcP256),
    );
    let evidence = attest(&device, &key, &[0, 7]);
    let id = evidence.decode().unwrap().claims().attestation_key;

    let another = Verifier::new(Nonce::new([8; 32]).unwrap()).trust_attestation_key(id);
    assert!(matches!(
        verify(another, &evidence),
        Err(VerifyError::Nonce)
    ));
    let nobody = verify(Verifier::new(nonce()), &evidence);
    assert!(matches!(nobody, Err(VerifyError::AttestationKeyNotTrusted(found)) if found == id));
    let expected = enrolled(&evidence).expect_public_key(other.public.clone().unwrap());
    assert!(matches!(
        verify(expected, &evidence),
        Err(VerifyError::PublicKey)
    ));
    let rooted = enrolled(&evidence).trust_root(Authority::new("Another").certificate());
    assert!(matches!(
        verify(rooted, &evidence),
        Err(VerifyError::CertificateMissing)
    ));
    let labelled = enrolled(&evidence).expect_label("payments".parse().unwrap());
    assert!(matches!(
        verify(labelled, &evidence),
        Err(VerifyError::Label)
    ));
    let unquoted = enrolled(&evidence).expect_pcr(3, [0; 32]);
    assert!(matches!(
        verify(unquoted, &evidence),
        Err(VerifyError::PcrSelection)
    ));
    let without = attest(&device, &key, &[]);
    let quoted = enrolled(&without).expect_pcr(0, [0; 32]);
    assert!(matches!(
        verify(quoted, &without),
        Err(VerifyError::QuoteMissing)
    ));
}

/// An imported key was outside: the TPM says so.
#[test]
fn imported_keys_are_not_the_tpms() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    let material = SecretBytes::copy_from(&[3; 32]);
    let (spec, binding) = (spec(KeyType::HmacSha256), binding());
    let key = block_on(device.import(material, &spec, &binding)).unwrap();
    let evidence = attest(&device, &key, &[]);
    assert!(matches!(
        verify(enrolled(&evidence), &evidence),
        Err(VerifyError::KeyAttribute(KeyAttribute::SensitiveDataOrigin))
    ));
}

#[test]
fn an_extended_register_is_found() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    let key = make(&device, KeyType::EcP256);
    let before = attest(&device, &key, &[7, 16]);
    let value = verify(enrolled(&before), &before).unwrap();
    let value = value.tpm().unwrap().pcrs()[&16];
    verify(enrolled(&before).expect_pcr(16, value), &before).unwrap();
    block_on(device.close()).unwrap();

    let extension = format!("16:sha256={}", "ab".repeat(32));
    machine.tool("tpm2_pcrextend", &[&extension]);
    let device = machine.device();
    let after = attest(&device, &key, &[7, 16]);
    let verdict = verify(enrolled(&after).expect_pcr(16, value), &after);
    assert!(matches!(verdict, Err(VerifyError::PcrValue(16))));
}

#[test]
fn no_bit_can_be_flipped() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    let evidence = attest(&device, &make(&device, KeyType::EcP256), &[0]);
    let verifier = enrolled(&evidence);
    verifier.verify(evidence.as_bytes()).unwrap();
    for bit in 0..evidence.as_bytes().len() * 8 {
        let mut bytes = evidence.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(verifier.verify(&bytes).is_err(), "bit {bit}");
    }
    for len in 0..evidence.as_bytes().len() {
        assert!(verifier.verify(&evidence.as_bytes()[..len]).is_err());
    }
}

#[test]
fn the_endorsement_chain_is_verified() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let authority = Authority::new("Maker");
    machine.write_certificate(&authority.endorsement());
    let device = machine.device();
    let evidence = attest(&device, &make(&device, KeyType::EcP256), &[]);
    let rooted = || enrolled(&evidence).trust_root(authority.certificate());
    verify(rooted(), &evidence).unwrap();
    let elsewhere = enrolled(&evidence).trust_root(Authority::new("Another").certificate());
    assert!(matches!(
        verify(elsewhere, &evidence),
        Err(VerifyError::UnknownRoot)
    ));
    let early = rooted().at(authority::BEFORE);
    assert!(matches!(
        verify(early, &evidence),
        Err(VerifyError::CertificateNotYetValid)
    ));
    let late = rooted().at(authority::AFTER);
    assert!(matches!(
        verify(late, &evidence),
        Err(VerifyError::CertificateExpired)
    ));
}

#[test]
fn certificates_for_something_else_are_refused() {
    if let Some(reason) = authority::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let authority = Authority::new("Maker");
    for (certificate, expected) in [
        (authority.for_tls(), "NotEndorsement"),
        (authority.without_purpose(), "NotEndorsement"),
        (authority.certificate(), "AuthorityAsEndorsement"),
    ] {
        let Some(machine) = Machine::new() else {
            return;
        };
        machine.write_certificate(&certificate);
        let device = machine.device();
        let evidence = attest(&device, &make(&device, KeyType::EcP256), &[]);
        let verifier = enrolled(&evidence).trust_root(authority.certificate());
        let error = verify(verifier, &evidence).unwrap_err();
        assert_eq!(format!("{error:?}"), expected);
    }
}

#[test]
fn tpm2_checkquote_verifies_the_quote() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    let evidence = attest(&device, &make(&device, KeyType::EcP256), &[0, 1, 7]);
    let report = evidence.decode().unwrap();
    let digest = report.claims().digest().unwrap();
    let proof = proof(&evidence);
    let quote = proof.quote.unwrap();
    let message = machine.file("quote.msg", &quote.signed.attested);
    let signature = machine.file("quote.sig", &quote.signed.signature);
    // What the tool calls a public key: a `TPM2B_PUBLIC`.
    let mut public = u16::try_from(proof.attestation_public.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    public.extend(&proof.attestation_public);
    let public = machine.file("ak.pub", &public);
    let checked = |qualification: &[u8]| check_quote(&public, &message, &signature, qualification);
    assert!(checked(&digest), "tpm2_checkquote refuses the quote");
    assert!(!checked(&[0; 32]), "tpm2_checkquote takes another nonce");
}

fn check_quote(public: &str, message: &str, signature: &str, qualification: &[u8]) -> bool {
    let qualification: String = qualification.iter().map(|b| format!("{b:02x}")).collect();
    let output = Command::new("tpm2_checkquote")
        .args(["-u", public, "-m", message, "-s", signature])
        .args(["-g", "sha256", "-q", &qualification])
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    output.status.success()
}
