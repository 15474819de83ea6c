//! Promise: detached signatures of keys in the HSM are what OpenSSL verifies, what OpenSSL signs is verified here, and what
//! was changed, is untrusted or is not a detached signature is refused.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use home::{Home, app};
use hsm_client::blocking::{Key, Session};
use hsm_client::cms::cms::content_info::ContentInfo;
use hsm_client::cms::cms::signed_data::{SignedData, SignerInfos};
use hsm_client::cms::{
    self, DetachedSignature, DocumentSigner, Purpose, SIGNATURE_LEN_MAX, SIGNERS_MAX, SignedBy,
    Trust,
};
use hsm_client::kinds::{
    EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, MlDsa65, RsaPkcs1v15Sign2048, RsaPkcs1v15Sign4096,
    RsaPss2048, RsaPss4096,
};
use hsm_client::signature::SignatureKind;
use hsm_client::x509::x509_cert::attr::Attribute;
use hsm_client::x509::x509_cert::der::asn1::OctetString;
use hsm_client::x509::x509_cert::der::{Any, DecodePem, Encode};
use hsm_client::x509::{
    self, Certificate, CertificateAuthority, CertificateRequest, CrlReason, Profile,
};
use hsm_client::{AttributesUpdate, Clock, ErrorKind, Result};
use pollster::block_on;

const DOCUMENT: &[u8] = b"Alice owes Bob 100\nand a cow\n";

/// A root, and an authority below it that issues to people.
struct Pki {
    root: CertificateAuthority<EcdsaP384>,
    issuing: CertificateAuthority<EcdsaP256>,
}

impl Pki {
    fn new(session: &Session) -> Self {
        let key = session.create::<EcdsaP384>("root").make().unwrap();
        let validity = x509::days(100).unwrap();
        let root =
            CertificateAuthority::root(session.as_async(), key.as_async(), "CN=Root", validity);
        let root = block_on(root).unwrap();
        let key = session.create::<EcdsaP256>("issuing").make().unwrap();
        let certificate = issue(
            &root,
            &key,
            "CN=Issuing",
            Profile::IssuingCa { path_len: 0 },
        );
        let issuing = CertificateAuthority::open(session.as_async(), key.as_async(), certificate);
        Self {
            root,
            issuing: block_on(issuing).unwrap(),
        }
    }

    fn signer<A: SignatureKind>(&self, key: &Key<A>, profile: Profile) -> DocumentSigner<A> {
        let subject = format!("CN={}", key.name());
        let certificate = issue(&self.issuing, key, &subject, profile);
        let chain = [self.issuing.certificate().clone()];
        block_on(DocumentSigner::new(key.as_async(), certificate, chain)).unwrap()
    }

    fn trust(&self) -> Trust {
        Trust::new(Purpose::DocumentSigning, [self.root.certificate().clone()]).unwrap()
    }
}

fn issue<I: SignatureKind, A: SignatureKind>(
    authority: &CertificateAuthority<I>,
    key: &Key<A>,
    subject: &str,
    profile: Profile,
) -> Certificate {
    let request = CertificateRequest::new(key.as_async(), subject, ["alice@example.com"]);
    let request = block_on(request).unwrap();
    block_on(authority.issue(&request, profile, x509::days(50).unwrap())).unwrap()
}

/// An HSM with authorities and one signer, whose signature over the document is verified.
struct Desk {
    home: Home,
    session: Session,
    pki: Pki,
    key: Key<EcdsaP256>,
    signer: DocumentSigner<EcdsaP256>,
    signature: DetachedSignature,
}

impl Desk {
    fn new() -> Self {
        let (home, hsm) = Home::new();
        let session = app(&hsm);
        let pki = Pki::new(&session);
        let key = session.create::<EcdsaP256>("alice").make().unwrap();
        let signer = pki.signer(&key, Profile::DocumentSigning);
        let signature = block_on(signer.sign(DOCUMENT)).unwrap();
        cms::verify(&signature, DOCUMENT, &pki.trust()).unwrap();
        Self {
            home,
            session,
            pki,
            key,
            signer,
            signature,
        }
    }

    fn verify(&self, signature: &DetachedSignature) -> Result<Vec<SignedBy>> {
        cms::verify(signature, DOCUMENT, &self.pki.trust())
    }

    /// The signature as another program might have written it.
    fn forged(&self, forge: impl FnOnce(&mut SignedData)) -> Result<DetachedSignature> {
        let mut data = self.signature.as_cms().clone();
        forge(&mut data);
        reread(&data)
    }
}

fn reread(data: &SignedData) -> Result<DetachedSignature> {
    let info = ContentInfo {
        content_type: "1.2.840.113549.1.7.2".parse().unwrap(),
        content: Any::encode_from(data).unwrap(),
    };
    DetachedSignature::from_der(&info.to_der().unwrap())
}

fn refused<T>(result: Result<T>, kind: ErrorKind, word: &str) {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn every_kind_of_key_signs_and_says_when() {
    fn check<A: SignatureKind>(session: &Session, pki: &Pki, name: &str) {
        let key = session.create::<A>(name).make().unwrap();
        let signer = pki.signer(&key, Profile::DocumentSigning);
        let time = SystemTime::now() + Duration::from_secs(3600);
        let made = block_on(signer.sign_at(DOCUMENT, time)).unwrap();
        let read = DetachedSignature::from_der(&made.to_der().unwrap()).unwrap();
        assert_eq!(read, made);
        let read = DetachedSignature::from_pem(made.to_pem().unwrap()).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.certificates().count(), 2);

        let signers = cms::verify(&read, DOCUMENT, &pki.trust()).unwrap();
        let [signed_by] = &signers[..] else {
            panic!("{signers:?}");
        };
        assert_eq!(signed_by.certificate(), signer.certificate());
        assert_eq!(signed_by.algorithm(), A::ALGORITHM);
        let late = time
            .duration_since(signed_by.claimed_time().unwrap())
            .unwrap();
        assert!(late < Duration::from_secs(1), "{late:?}");
        refused(
            cms::verify(&read, &DOCUMENT[1..], &pki.trust()),
            ErrorKind::CryptoFailed,
            "",
        );
    }
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let pki = Pki::new(&session);
    check::<EcdsaP256>(&session, &pki, "p256");
    check::<EcdsaP384>(&session, &pki, "p384");
    check::<EcdsaP521>(&session, &pki, "p521");
    check::<Ed25519>(&session, &pki, "ed25519");
    check::<MlDsa65>(&session, &pki, "ml-dsa-65");
    check::<RsaPkcs1v15Sign2048>(&session, &pki, "rs256");
    check::<RsaPkcs1v15Sign4096>(&session, &pki, "rs512");
    check::<RsaPss2048>(&session, &pki, "ps256");
    check::<RsaPss4096>(&session, &pki, "ps512");
}

/// The HSM's longest message is 16 MiB. The content is longer, and comes in pieces.
#[test]
fn content_of_any_size_is_signed() {
    let desk = Desk::new();
    let content = || io::repeat(7).take(40 << 20);
    let signature = block_on(desk.signer.sign(content())).unwrap();
    cms::verify(&signature, content(), &desk.pki.trust()).unwrap();
    let longer = content().chain(&b"\x07"[..]);
    refused(
        cms::verify(&signature, longer, &desk.pki.trust()),
        ErrorKind::CryptoFailed,
        "",
    );
    let empty = block_on(desk.signer.sign(io::empty())).unwrap();
    cms::verify(&empty, io::empty(), &desk.pki.trust()).unwrap();
}

#[test]
fn a_reader_that_fails_says_why() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let desk = Desk::new();
    let (kind, word) = (ErrorKind::StoreFailed, "the disk is gone");
    refused(block_on(desk.signer.sign(Broken)), kind, word);
    let verified = cms::verify(&desk.signature, Broken, &desk.pki.trust());
    refused(verified, kind, word);
}

/// No byte of a signature can be changed and the document still be said to be signed by another, or at another time.
#[test]
fn a_changed_bit_changes_no_verdict() {
    let desk = Desk::new();
    let der = desk.signature.to_der().unwrap();
    let genuine = &desk.verify(&desk.signature).unwrap()[0];
    let mut accepted = 0;
    for place in 0..der.len() {
        let mut changed = der.clone();
        changed[place] ^= 1 << (place % 8);
        let Ok(signature) = DetachedSignature::from_der(&changed) else {
            continue;
        };
        if let Ok(signers) = desk.verify(&signature) {
            // What nobody signs: the version, the list of digests, a certificate that is not needed.
            assert_eq!(signers.len(), 1);
            assert_eq!(signers[0].certificate(), genuine.certificate());
            assert_eq!(signers[0].claimed_time(), genuine.claimed_time());
            accepted += 1;
        }
    }
    assert!(accepted < der.len() / 20, "{accepted} of {}", der.len());
}

#[test]
fn a_changed_signature_is_refused() {
    let desk = Desk::new();
    let forged = desk.forged(|data| {
        let mut info = data.signer_infos.0.get(0).unwrap().clone();
        let mut bytes = info.signature.as_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        info.signature = OctetString::new(bytes).unwrap();
        data.signer_infos = SignerInfos::try_from(vec![info]).unwrap();
    });
    refused(desk.verify(&forged.unwrap()), ErrorKind::CryptoFailed, "");
}

#[test]
fn another_time_than_the_signed_one_is_refused() {
    let desk = Desk::new();
    let later = SystemTime::now() + Duration::from_secs(86_400);
    let later = block_on(desk.signer.sign_at(DOCUMENT, later)).unwrap();
    let attributes = later.as_cms().signer_infos.0.get(0).unwrap();
    let attributes = attributes.signed_attrs.clone();
    let forged = desk.forged(|data| {
        let mut info = data.signer_infos.0.get(0).unwrap().clone();
        info.signed_attrs = attributes;
        data.signer_infos = SignerInfos::try_from(vec![info]).unwrap();
    });
    refused(desk.verify(&forged.unwrap()), ErrorKind::CryptoFailed, "");
}

#[test]
fn shapes_that_are_no_detached_signature_are_refused() {
    let desk = Desk::new();
    let attached = desk.forged(|data| {
        let content = OctetString::new(DOCUMENT).unwrap();
        data.encap_content_info.econtent = Some(Any::encode_from(&content).unwrap());
    });
    refused(attached, ErrorKind::InvalidInput, "attached");
    let other = desk.forged(|data| {
        data.encap_content_info.econtent_type = "1.2.840.113549.1.9.16.1.4".parse().unwrap();
    });
    refused(other, ErrorKind::Unsupported, "plain data");
    let nobody = desk.forged(|data| data.signer_infos = SignerInfos::try_from(vec![]).unwrap());
    refused(nobody, ErrorKind::InvalidInput, "nobody signed");
    let crowd = desk.forged(|data| {
        let info = data.signer_infos.0.get(0).unwrap().clone();
        data.signer_infos = SignerInfos::try_from(vec![info; SIGNERS_MAX + 1]).unwrap();
    });
    refused(crowd, ErrorKind::LimitExceeded, "signers");

    for text in ["", "no", "-----BEGIN CMS-----\n!\n-----END CMS-----\n"] {
        refused(
            DetachedSignature::from_pem(text),
            ErrorKind::InvalidInput,
            "CMS",
        );
        refused(
            DetachedSignature::from_der(text.as_bytes()),
            ErrorKind::InvalidInput,
            "CMS",
        );
    }
    let long = vec![0x30; SIGNATURE_LEN_MAX + 1];
    let most = SIGNATURE_LEN_MAX.to_string();
    refused(
        DetachedSignature::from_der(&long),
        ErrorKind::LimitExceeded,
        &most,
    );
    refused(
        DetachedSignature::from_pem(&long),
        ErrorKind::LimitExceeded,
        &most,
    );
    let mut der = desk.signature.to_der().unwrap();
    der.push(0);
    refused(
        DetachedSignature::from_der(&der),
        ErrorKind::InvalidInput,
        "",
    );
}

/// What is taken out of the signer's part of a signature, or put in.
#[test]
fn attributes_and_algorithms_that_are_not_right_are_refused() {
    let desk = Desk::new();
    let changed = |change: &dyn Fn(&mut cms::cms::signed_data::SignerInfo)| {
        let forged = desk.forged(|data| {
            let mut info = data.signer_infos.0.get(0).unwrap().clone();
            change(&mut info);
            data.signer_infos = SignerInfos::try_from(vec![info]).unwrap();
        });
        desk.verify(&forged.unwrap())
    };
    let bare = changed(&|info| info.signed_attrs = None);
    refused(bare, ErrorKind::InvalidInput, "no signed attributes");
    let sha1 = changed(&|info| info.digest_alg.oid = "1.3.14.3.2.26".parse().unwrap());
    refused(sha1, ErrorKind::Unsupported, "1.3.14.3.2.26");
    let other = changed(&|info| info.digest_alg.oid = "2.16.840.1.101.3.4.2.3".parse().unwrap());
    refused(other, ErrorKind::CryptoFailed, "");
    let pss = changed(&|info| {
        info.signature_algorithm.oid = "1.2.840.113549.1.1.10".parse().unwrap();
    });
    refused(pss, ErrorKind::Unsupported, "1.2.840.113549.1.1.10");
    let twice = changed(&|info| {
        let mut attributes = info.signed_attrs.clone().unwrap().into_vec();
        attributes.push(Attribute::clone(&attributes[0]));
        info.signed_attrs = Some(attributes.try_into().unwrap());
    });
    refused(twice, ErrorKind::CryptoFailed, "");
    let stranger = desk.forged(|data| data.certificates = None).unwrap();
    let (kind, word) = (ErrorKind::InvalidInput, "certificate is not in");
    refused(desk.verify(&stranger), kind, word);
}

#[test]
fn a_certificate_for_another_key_is_refused_at_once() {
    let desk = Desk::new();
    let certificate = desk.signer.certificate().clone();
    let other = desk.session.create::<EcdsaP256>("other").make().unwrap();
    let made = DocumentSigner::new(other.as_async(), certificate.clone(), []);
    refused(block_on(made), ErrorKind::InvalidInput, "another key");
    desk.key.rotate().unwrap();
    let made = DocumentSigner::new(desk.key.as_async(), certificate, []);
    refused(block_on(made), ErrorKind::InvalidInput, "another key");
    // The one that was made before stays at its version.
    let signature = block_on(desk.signer.sign(DOCUMENT)).unwrap();
    desk.verify(&signature).unwrap();
}

#[test]
fn a_key_that_has_expired_says_so() {
    let desk = Desk::new();
    let end = desk.home.clock.now() + Duration::from_secs(60);
    desk.key
        .update(AttributesUpdate::new().expires(end))
        .unwrap();
    assert!(block_on(desk.signer.sign(DOCUMENT)).is_ok());
    desk.home.clock.advance(Duration::from_secs(61));
    refused(
        block_on(desk.signer.sign(DOCUMENT)),
        ErrorKind::KeyState,
        "expired",
    );
    let late = SystemTime::now() + Duration::from_secs(51 * 86_400);
    refused(
        block_on(desk.signer.sign_at(DOCUMENT, late)),
        ErrorKind::InvalidInput,
        "not at the time of signing",
    );
}

#[test]
fn two_signers_are_both_verified() {
    let desk = Desk::new();
    let key = desk.session.create::<Ed25519>("bob").make().unwrap();
    let bob = desk.pki.signer(&key, Profile::DocumentSigning);
    let both = block_on(bob.sign_too(&desk.signature, DOCUMENT)).unwrap();
    assert_eq!(both.certificates().count(), 3);
    let both = DetachedSignature::from_der(&both.to_der().unwrap()).unwrap();
    let signers = desk.verify(&both).unwrap();
    let mut names: Vec<_> = signers
        .iter()
        .map(|signer| signer.certificate().tbs_certificate().subject().to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["CN=alice", "CN=bob"]);

    // One who signed something else spoils it for both.
    let torn = block_on(bob.sign_too(&desk.signature, &b"Alice owes Bob 900"[..])).unwrap();
    refused(desk.verify(&torn), ErrorKind::CryptoFailed, "");
    let code = desk.session.create::<Ed25519>("carol").make().unwrap();
    let carol = desk.pki.signer(&code, Profile::CodeSigning);
    let mixed = block_on(carol.sign_too(&desk.signature, DOCUMENT)).unwrap();
    refused(desk.verify(&mixed), ErrorKind::InvalidInput, "CN=carol");
}

#[test]
fn only_what_leads_to_a_root_for_the_purpose_at_the_time_is_trusted() {
    let desk = Desk::new();
    let verify = |trust: &Trust| cms::verify(&desk.signature, DOCUMENT, trust);
    let kind = ErrorKind::InvalidInput;
    let root = || [desk.pki.root.certificate().clone()];

    refused(Trust::new(Purpose::Any, []), kind, "root");
    let (_home, hsm) = Home::new();
    let stranger = Pki::new(&app(&hsm));
    refused(verify(&stranger.trust()), kind, "does not lead to a root");
    verify(&Trust::new(Purpose::Any, root()).unwrap()).unwrap();
    let code = Trust::new(Purpose::CodeSigning, root()).unwrap();
    refused(verify(&code), kind, "another purpose");
    let itself = [desk.signer.certificate().clone()];
    refused(
        verify(&Trust::new(Purpose::Any, itself).unwrap()),
        kind,
        "does not lead to a root",
    );

    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    verify(&desk.pki.trust().at(now + 49 * day)).unwrap();
    refused(
        verify(&desk.pki.trust().at(now + 51 * day)),
        kind,
        "expired",
    );
    refused(
        verify(&desk.pki.trust().at(now - day)),
        kind,
        "not valid yet",
    );

    // Without the authority between, nobody finds the way.
    let alone = desk.signer.certificate().clone();
    let alone = block_on(DocumentSigner::new(desk.key.as_async(), alone, [])).unwrap();
    let alone = block_on(alone.sign(DOCUMENT)).unwrap();
    refused(desk.verify(&alone), kind, "does not lead to a root");
    let tls = desk.session.create::<EcdsaP256>("www").make().unwrap();
    let tls = desk.pki.signer(&tls, Profile::TlsServer);
    let tls = block_on(tls.sign(DOCUMENT)).unwrap();
    refused(desk.verify(&tls), kind, "another purpose");
    let authority = desk.pki.root.certificate().clone();
    let key = desk.session.key::<EcdsaP384>("root").unwrap();
    let authority = block_on(DocumentSigner::new(key.as_async(), authority, [])).unwrap();
    let authority = block_on(authority.sign(DOCUMENT)).unwrap();
    refused(desk.verify(&authority), kind, "not for signatures");
}

#[test]
fn a_revoked_certificate_is_refused_if_there_are_lists() {
    let desk = Desk::new();
    let week = Duration::from_secs(7 * 86_400);
    let roots = block_on(desk.pki.root.revocation_list(1, week, [])).unwrap();
    let before = block_on(desk.pki.issuing.revocation_list(1, week, [])).unwrap();
    let serial = desk.signer.certificate().tbs_certificate().serial_number();
    let revoked = x509::revoked_now(serial, CrlReason::KeyCompromise).unwrap();
    let after = block_on(desk.pki.issuing.revocation_list(2, week, [revoked])).unwrap();
    let verify = |lists: Vec<_>| {
        let trust = desk.pki.trust().revocation_lists(lists).unwrap();
        cms::verify(&desk.signature, DOCUMENT, &trust)
    };
    verify(vec![roots.clone(), before]).unwrap();
    let kind = ErrorKind::InvalidInput;
    refused(verify(vec![roots.clone(), after]), kind, "revoked");
    refused(verify(vec![roots]), kind, "no revocation list");
}

#[test]
fn openssl_verifies_what_is_signed_here() {
    fn check<A: SignatureKind>(session: &Session, pki: &Pki, folder: &Path, name: &str) {
        let key = session.create::<A>(name).make().unwrap();
        let signer = pki.signer(&key, Profile::DocumentSigning);
        let made = block_on(signer.sign(DOCUMENT)).unwrap();
        fs::write(folder.join("signature.pem"), made.to_pem().unwrap()).unwrap();
        fs::write(folder.join("signature.der"), made.to_der().unwrap()).unwrap();
        for (form, file) in [("PEM", "signature.pem"), ("DER", "signature.der")] {
            let verify = |content| {
                let mut arguments = vec!["cms", "-verify", "-cades", "-binary", "-inform", form];
                arguments.extend(["-in", file, "-content", content, "-CAfile", "root.pem"]);
                arguments.extend(["-purpose", "any", "-out", "out"]);
                openssl(folder, &arguments)
            };
            let verified = verify("document");
            assert!(verified.status.success(), "{name}: {}", text(&verified));
            assert!(text(&verified).contains("erification successful"));
            let changed = verify("changed");
            assert!(!changed.status.success(), "{name}: {}", text(&changed));
        }
    }
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let pki = Pki::new(&session);
    let root = x509::to_pem(pki.root.certificate()).unwrap();
    fs::write(folder.join("root.pem"), root).unwrap();
    fs::write(folder.join("changed"), b"Alice owes Bob 900\n").unwrap();
    check::<EcdsaP256>(&session, &pki, folder, "p256");
    check::<EcdsaP384>(&session, &pki, folder, "p384");
    check::<EcdsaP521>(&session, &pki, folder, "p521");
    check::<RsaPkcs1v15Sign2048>(&session, &pki, folder, "rs256");
    check::<RsaPkcs1v15Sign4096>(&session, &pki, folder, "rs512");
    check::<RsaPss2048>(&session, &pki, folder, "ps256");
}

/// OpenSSL 3.0 has no CMS with Ed25519 keys, but verifies their signatures over what is signed.
#[test]
fn openssl_verifies_what_ed25519_signs_of_a_document() {
    let Some(folder) = folder() else { return };
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let pki = Pki::new(&session);
    let key = session.create::<Ed25519>("ed25519").make().unwrap();
    let signer = pki.signer(&key, Profile::DocumentSigning);
    let made = block_on(signer.sign(DOCUMENT)).unwrap();
    let info = made.as_cms().signer_infos.0.get(0).unwrap();
    let signed = info.signed_attrs.as_ref().unwrap().to_der().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("signed", &signed);
    write("signature", info.signature.as_bytes());
    write(
        "key.pem",
        key.public_key().unwrap().to_pem().unwrap().as_bytes(),
    );
    let mut arguments = vec!["pkeyutl", "-verify", "-rawin", "-in", "signed", "-pubin"];
    arguments.extend(["-inkey", "key.pem", "-sigfile", "signature"]);
    let verified = openssl(folder.path(), &arguments);
    assert!(verified.status.success(), "{}", text(&verified));
}

#[test]
fn what_openssl_signs_is_verified_here() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let run = |line: &str| {
        let arguments: Vec<_> = line.split(' ').collect();
        let output = openssl(folder, &arguments);
        assert!(output.status.success(), "{line}: {}", text(&output));
    };
    let p256 = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
    let p384 = "-algorithm EC -pkeyopt ec_paramgen_curve:P-384";
    let rsa = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
    let pss = "-keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:digest";
    for (name, made_by, options) in [
        ("p256", p256, "-md sha256".to_owned()),
        ("p256-key-id", p256, "-md sha256 -keyid".to_owned()),
        ("p384", p384, "-md sha384 -cades".to_owned()),
        ("rsa", rsa, "-md sha256".to_owned()),
        ("rsa-sha512", rsa, "-md sha512 -cades".to_owned()),
        ("pss", rsa, format!("-md sha256 {pss}")),
    ] {
        run(&format!("genpkey {made_by} -out {name}.key"));
        // A certificate of its own, which is no authority's.
        run(&format!(
            "req -x509 -new -key {name}.key -subj /CN={name} -days 30 -out {name}.pem \
             -addext basicConstraints=critical,CA:FALSE -addext keyUsage=digitalSignature"
        ));
        run(&format!(
            "cms -sign -binary {options} -in document -signer {name}.pem -inkey {name}.key \
             -outform PEM -out {name}.cms"
        ));
        let signature = fs::read(folder.join(format!("{name}.cms"))).unwrap();
        let signature = DetachedSignature::from_pem(signature).unwrap();
        let certificate = fs::read(folder.join(format!("{name}.pem"))).unwrap();
        let certificate = Certificate::from_pem(certificate).unwrap();
        let trust = Trust::new(Purpose::DocumentSigning, [certificate.clone()]).unwrap();
        let signers = cms::verify(&signature, DOCUMENT, &trust).unwrap();
        assert_eq!(signers[0].certificate(), &certificate, "{name}");
        assert!(signers[0].claimed_time().is_some());
        refused(
            cms::verify(&signature, &b"other"[..], &trust),
            ErrorKind::CryptoFailed,
            "",
        );
    }

    // What is to be refused, as OpenSSL makes it.
    run(
        "cms -sign -binary -noattr -in document -signer p256.pem -inkey p256.key -outform DER -out bare",
    );
    run(
        "cms -sign -binary -nodetach -in document -signer p256.pem -inkey p256.key -outform DER -out attached",
    );
    run(
        "cms -sign -binary -md sha1 -in document -signer rsa.pem -inkey rsa.key -outform DER -out sha1",
    );
    run(
        "cms -sign -binary -nocerts -in document -signer p256.pem -inkey p256.key -outform DER -out naked",
    );
    let read = |name: &str| DetachedSignature::from_der(&fs::read(folder.join(name)).unwrap());
    refused(read("attached"), ErrorKind::InvalidInput, "attached");
    let certificate = fs::read(folder.join("p256.pem")).unwrap();
    let certificate = Certificate::from_pem(certificate).unwrap();
    let trust = Trust::new(Purpose::Any, [certificate]).unwrap();
    for (name, kind, word) in [
        ("bare", ErrorKind::InvalidInput, "no signed attributes"),
        ("sha1", ErrorKind::Unsupported, "SHA-256"),
        ("naked", ErrorKind::InvalidInput, "certificate is not in"),
    ] {
        let signature = read(name).unwrap();
        refused(cms::verify(&signature, DOCUMENT, &trust), kind, word);
    }
}

/// A folder with the document, if there is OpenSSL to look at it.
fn folder() -> Option<tempfile::TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("document"), DOCUMENT).unwrap();
    Some(folder)
}

fn openssl(folder: &Path, arguments: &[&str]) -> Output {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments).current_dir(folder);
    openssl.output().unwrap()
}

fn text(output: &Output) -> String {
    let printed = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&printed).into_owned()
}
