//! Promise: requests, certificates and revocation lists of keys in the HSM are what they claim; a forged request, a
//! certificate of another key, and an order that makes no sense are refused.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use home::{Home, admin, app};
use hsm_client::blocking::{Hsm, Session};
use hsm_client::kinds::{
    EcdsaP256, EcdsaP256K, EcdsaP384, EcdsaP521, Ed25519, MlDsa44, MlDsa65, MlDsa87,
    RsaPkcs1v15Sign2048, RsaPkcs1v15Sign4096, RsaPss2048, RsaPss4096,
};
use hsm_client::rcgen::rcgen;
use hsm_client::signature::SignatureKind;
use hsm_client::signature::p256::ecdsa::DerSignature;
use hsm_client::x509::x509_cert::builder::Builder;
use hsm_client::x509::x509_cert::der::oid::AssociatedOid;
use hsm_client::x509::x509_cert::der::{self, Decode, Encode};
use hsm_client::x509::x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlNumber, ExtendedKeyUsage, KeyUsage,
    SubjectAltName, SubjectKeyIdentifier,
};
use hsm_client::x509::x509_cert::request::RequestBuilder;
use hsm_client::x509::{
    self, Certificate, CertificateAuthority, CertificateRequest, CrlReason, Profile, Validity,
};
use hsm_client::{AttributesUpdate, Error, ErrorKind, Result};
use pollster::block_on;
use proptest::prelude::*;

const NONE: [&str; 0] = [];

fn root(session: &Session) -> CertificateAuthority<EcdsaP384> {
    let key = session.create::<EcdsaP384>("root").make().unwrap();
    let root = CertificateAuthority::root(
        session.as_async(),
        key.as_async(),
        "CN=Root,O=Example,C=GB",
        x509::days(100).unwrap(),
    );
    block_on(root).unwrap()
}

fn request<A: SignatureKind>(session: &Session, key: &str, names: &[&str]) -> CertificateRequest {
    let key = session.create::<A>(key).make().unwrap();
    block_on(CertificateRequest::new(key.as_async(), "CN=Asker", names)).unwrap()
}

fn days(days: u32) -> Validity {
    x509::days(days).unwrap()
}

fn refused<T>(result: Result<T>, kind: ErrorKind, word: &str) {
    let error: Error = result.err().unwrap();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn requests_of_every_algorithm_are_read_back() {
    fn check<A: SignatureKind>(session: &Session, key: &str) {
        let names = [
            "www.example.com",
            "192.0.2.1",
            "2001:db8::1",
            "a@example.com",
            "https://example.com/",
        ];
        let made = request::<A>(session, key, &names);
        let read = CertificateRequest::from_pem(made.to_pem().unwrap()).unwrap();
        assert_eq!(read.as_x509_cert(), made.as_x509_cert());
        assert_eq!(read.subject().to_string(), "CN=Asker");
        assert_eq!(read.alternative_names(), made.alternative_names());
        assert_eq!(read.alternative_names().len(), names.len());
        let mut der = made.to_der().unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        refused(
            CertificateRequest::from_der(&der),
            ErrorKind::CryptoFailed,
            "",
        );
    }
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    check::<EcdsaP256>(&session, "p256");
    check::<EcdsaP384>(&session, "p384");
    check::<EcdsaP521>(&session, "p521");
    check::<EcdsaP256K>(&session, "p256k");
    check::<Ed25519>(&session, "ed25519");
    check::<MlDsa44>(&session, "ml-dsa-44");
    check::<MlDsa65>(&session, "ml-dsa-65");
    check::<MlDsa87>(&session, "ml-dsa-87");
    check::<RsaPkcs1v15Sign2048>(&session, "rs256");
    check::<RsaPkcs1v15Sign4096>(&session, "rs512");
    check::<RsaPss2048>(&session, "ps256");
    check::<RsaPss4096>(&session, "ps512");
}

/// The request of one key with the public half of another: the second has not agreed to anything.
#[test]
fn a_request_that_another_key_signed_is_refused() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let honest = request::<EcdsaP256>(&session, "honest", &NONE);
    let mut forged = request::<EcdsaP256>(&session, "forger", &NONE)
        .as_x509_cert()
        .clone();
    forged.info.public_key = honest.public_key().clone();
    refused(
        CertificateRequest::from_der(&forged.to_der().unwrap()),
        ErrorKind::CryptoFailed,
        "",
    );
    let mut named_otherwise = honest.as_x509_cert().clone();
    named_otherwise.algorithm = request::<Ed25519>(&session, "ed25519", &NONE)
        .as_x509_cert()
        .algorithm
        .clone();
    refused(
        CertificateRequest::from_der(&named_otherwise.to_der().unwrap()),
        ErrorKind::Unsupported,
        "1.3.101.112",
    );
    refused(
        CertificateRequest::from_der(b"no"),
        ErrorKind::InvalidInput,
        "PKCS#10",
    );
    refused(
        CertificateRequest::from_pem("no"),
        ErrorKind::InvalidInput,
        "PKCS#10",
    );
    refused(
        CertificateRequest::from_der(&vec![0x30; (64 << 10) + 1]),
        ErrorKind::LimitExceeded,
        "65537",
    );
    // What other software makes is taken.
    let theirs = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["www.example.com".to_owned()]).unwrap();
    let theirs = params.serialize_request(&theirs).unwrap().pem().unwrap();
    let read = CertificateRequest::from_pem(theirs).unwrap();
    assert_eq!(read.alternative_names().len(), 1);
}

fn any_request() -> &'static [u8] {
    static REQUEST: OnceLock<Vec<u8>> = OnceLock::new();
    REQUEST.get_or_init(|| {
        let (_home, hsm) = Home::new();
        let request = request::<EcdsaP256>(&app(&hsm), "key", &["www.example.com"]);
        request.to_der().unwrap()
    })
}

proptest! {
    #[test]
    fn any_bit_of_a_request_matters(position in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut der = any_request().to_vec();
        prop_assert!(CertificateRequest::from_der(&der).is_ok());
        let position = position.index(der.len());
        der[position] ^= 1_u8 << bit;
        prop_assert!(CertificateRequest::from_der(&der).is_err(), "byte {position}, bit {bit}");
    }

    #[test]
    fn a_request_that_is_cut_off_or_goes_on_is_refused(len in any::<prop::sample::Index>(), more in any::<u8>()) {
        let der = any_request();
        prop_assert!(CertificateRequest::from_der(&der[..len.index(der.len())]).is_err());
        prop_assert!(CertificateRequest::from_der(&[der, &[more]].concat()).is_err());
    }
}

fn extension<'c, T>(certificate: &'c Certificate) -> Option<(bool, T)>
where
    T: Decode<'c, Error = der::Error> + AssociatedOid,
{
    certificate.tbs_certificate().get_extension::<T>().unwrap()
}

#[test]
fn certificates_say_what_their_profile_is() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let root = root(&session);
    let own = root.certificate();
    assert_eq!(
        own.tbs_certificate().issuer(),
        own.tbs_certificate().subject()
    );
    let (critical, constraints) = extension::<BasicConstraints>(own).unwrap();
    assert!(critical && constraints.ca && constraints.path_len_constraint.is_none());
    let root_id = extension::<SubjectKeyIdentifier>(own).unwrap().1;

    let asker = request::<EcdsaP256>(&session, "asker", &["www.example.com"]);
    for (profile, purpose) in [
        (Profile::TlsServer, Some("1.3.6.1.5.5.7.3.1")),
        (Profile::TlsClient, Some("1.3.6.1.5.5.7.3.2")),
        (Profile::CodeSigning, Some("1.3.6.1.5.5.7.3.3")),
        (Profile::IssuingCa { path_len: 3 }, None),
    ] {
        let issued = block_on(root.issue(&asker, profile, days(90))).unwrap();
        let tbs = issued.tbs_certificate();
        assert_eq!(tbs.issuer(), own.tbs_certificate().subject());
        assert_eq!(tbs.subject_public_key_info(), asker.public_key());
        let authority = extension::<AuthorityKeyIdentifier>(&issued).unwrap().1;
        assert_eq!(authority.key_identifier, Some(root_id.0.clone()));
        assert_ne!(
            extension::<SubjectKeyIdentifier>(&issued).unwrap().1,
            root_id
        );
        let names = extension::<SubjectAltName>(&issued).unwrap().1;
        assert_eq!(names.0, asker.alternative_names());
        let (critical, usage) = extension::<KeyUsage>(&issued).unwrap();
        let (_, constraints) = extension::<BasicConstraints>(&issued).unwrap();
        let found =
            extension::<ExtendedKeyUsage>(&issued).map(|(_, purposes)| purposes.0[0].to_string());
        assert_eq!(found.as_deref(), purpose);
        assert!(critical);
        assert_eq!(usage.key_cert_sign(), purpose.is_none());
        assert_eq!(usage.digital_signature(), purpose.is_some());
        assert_eq!(constraints.ca, purpose.is_none());
        assert_eq!(
            constraints.path_len_constraint,
            purpose.is_none().then_some(3)
        );
    }
}

/// The builder of `x509-cert` takes our signer as any other. What it lets a request ask for is the profile's to grant.
#[test]
fn a_request_to_be_an_authority_is_not_granted() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let root = root(&session);
    let key = session.create::<EcdsaP256>("asker").make().unwrap();
    let mut builder = RequestBuilder::new("CN=Asker".parse().unwrap()).unwrap();
    let authority = BasicConstraints {
        ca: true,
        path_len_constraint: None,
    };
    builder.add_extension(&authority).unwrap();
    let signer = key.signer().unwrap();
    let asked = builder.build::<_, DerSignature>(&signer).unwrap();
    let asked = CertificateRequest::from_der(&asked.to_der().unwrap()).unwrap();

    let issued = block_on(root.issue(&asked, Profile::TlsClient, days(1))).unwrap();
    assert!(!extension::<BasicConstraints>(&issued).unwrap().1.ca);
    let opened = CertificateAuthority::open(session.as_async(), key.as_async(), issued);
    refused(block_on(opened), ErrorKind::InvalidInput, "may not issue");
}

/// RFC 5280 section 4.1.2.2: positive, 20 bytes at most. Ours have 20, and do not repeat.
#[test]
fn serial_numbers_are_random() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let root = root(&session);
    let asker = request::<Ed25519>(&session, "asker", &NONE);
    let mut serials = BTreeSet::new();
    for _ in 0..32 {
        let issued = block_on(root.issue(&asker, Profile::TlsClient, days(1))).unwrap();
        let serial = issued.tbs_certificate().serial_number().as_bytes().to_vec();
        assert_eq!(serial.len(), 20);
        assert!(serial[0] & 0x80 == 0);
        serials.insert(serial);
    }
    assert_eq!(serials.len(), 32);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let root = root(&session);
    let nameless = request::<EcdsaP256>(&session, "nameless", &NONE);
    let issue = |authority: &CertificateAuthority<EcdsaP256>, profile, validity| {
        block_on(authority.issue(&nameless, profile, validity))
    };
    refused(
        block_on(root.issue(&nameless, Profile::TlsServer, days(1))),
        ErrorKind::InvalidInput,
        "alternative name",
    );
    refused(
        block_on(root.issue(&nameless, Profile::TlsClient, days(200))),
        ErrorKind::InvalidInput,
        "within the authority's own",
    );
    let backwards = Validity::new(days(2).not_after, days(1).not_after);
    refused(
        block_on(root.issue(&nameless, Profile::TlsClient, backwards)),
        ErrorKind::InvalidInput,
        "before it begins",
    );

    // An authority that may have none below it.
    let key = session.key::<EcdsaP256>("nameless").unwrap();
    let profile = Profile::IssuingCa { path_len: 0 };
    let certificate = block_on(root.issue(&nameless, profile, days(50))).unwrap();
    let open = |certificate| {
        let open = CertificateAuthority::open(session.as_async(), key.as_async(), certificate);
        block_on(open)
    };
    let issuing = open(certificate.clone()).unwrap();
    assert!(issue(&issuing, Profile::TlsClient, days(1)).is_ok());
    refused(
        issue(&issuing, profile, days(1)),
        ErrorKind::InvalidInput,
        "path length",
    );

    // A certificate that is not one of an authority, of another key, of another version.
    let end = block_on(root.issue(&nameless, Profile::TlsClient, days(1))).unwrap();
    refused(open(end), ErrorKind::InvalidInput, "may not issue");
    refused(
        open(root.certificate().clone()),
        ErrorKind::InvalidInput,
        "another key",
    );
    let old = key.at(issuing_version(&key));
    key.rotate().unwrap();
    refused(
        open(certificate.clone()),
        ErrorKind::InvalidInput,
        "another key",
    );
    let reopened = CertificateAuthority::open(session.as_async(), old.as_async(), certificate);
    assert!(block_on(reopened).is_ok());
    assert!(issue(&issuing, Profile::TlsClient, days(1)).is_ok());

    for (subject, names) in [
        ("no name", &[][..]),
        ("CN=a", &["with space"]),
        ("CN=a", &["ü.example"]),
    ] {
        let made = CertificateRequest::new(key.as_async(), subject, names);
        refused(block_on(made), ErrorKind::InvalidInput, " name");
    }
    let nobody = CertificateAuthority::root(session.as_async(), key.as_async(), "", days(1));
    refused(block_on(nobody), ErrorKind::InvalidInput, "has a name");

    let nobody = CertificateRequest::new(key.as_async(), "", NONE);
    let nobody = block_on(nobody).unwrap();
    for (profile, word) in [
        (Profile::IssuingCa { path_len: 0 }, "has a name"),
        (Profile::TlsClient, "a subject or an alternative name"),
    ] {
        let issued = block_on(root.issue(&nobody, profile, days(1)));
        refused(issued, ErrorKind::InvalidInput, word);
    }
    let named = CertificateRequest::new(key.as_async(), "", ["www.example.com"]);
    let named = block_on(named).unwrap();
    let issued = block_on(root.issue(&named, Profile::TlsServer, days(1))).unwrap();
    // Critical, as there is no other name (RFC 5280 section 4.2.1.6).
    assert!(extension::<SubjectAltName>(&issued).unwrap().0);

    // A key that has been disabled meanwhile.
    let root_key = session.key::<EcdsaP384>("root").unwrap();
    root_key
        .update(AttributesUpdate::new().enabled(false))
        .unwrap();
    refused(
        block_on(root.issue(&nameless, Profile::TlsClient, days(1))),
        ErrorKind::KeyState,
        "suspended",
    );
    admin(&hsm).delete_user("app").unwrap();
    let list = root.revocation_list(1, Duration::from_secs(60), []);
    refused(block_on(list), ErrorKind::Unauthenticated, "");
}

fn issuing_version(key: &hsm_client::blocking::Key<EcdsaP256>) -> hsm_client::VersionId {
    key.info().unwrap().version
}

#[test]
fn revocation_lists_have_number_reasons_and_an_end() {
    let (_home, hsm): (Home, Hsm) = Home::new();
    let session = app(&hsm);
    let root = root(&session);
    let asker = request::<EcdsaP256>(&session, "asker", &["www.example.com"]);
    let issued = block_on(root.issue(&asker, Profile::TlsServer, days(90))).unwrap();
    let serial = issued.tbs_certificate().serial_number();
    let hour = Duration::from_secs(3600);

    let empty = block_on(root.revocation_list(1, hour, [])).unwrap();
    assert!(empty.tbs_cert_list.revoked_certificates.is_none());
    let revoked = [
        x509::revoked_now(serial, CrlReason::KeyCompromise).unwrap(),
        x509::revoked_now(&7_u8.into(), CrlReason::Unspecified).unwrap(),
    ];
    let list = block_on(root.revocation_list(2, hour, revoked)).unwrap();
    let tbs = &list.tbs_cert_list;
    let entries = tbs.revoked_certificates.as_ref().unwrap();
    assert_eq!(&entries[0].serial_number, serial);
    assert_eq!(entries[0].crl_entry_extensions.as_ref().unwrap().len(), 1);
    assert!(entries[1].crl_entry_extensions.is_none());
    let lasts = tbs.next_update.unwrap().to_unix_duration() - tbs.this_update.to_unix_duration();
    assert_eq!(lasts, hour);
    let number = Decode::from_der(
        tbs.crl_extensions.as_ref().unwrap()[0]
            .extn_value
            .as_bytes(),
    );
    let number: CrlNumber = number.unwrap();
    assert_eq!(number.0.as_bytes(), [2]);
    assert!(
        x509::to_pem(&list)
            .unwrap()
            .starts_with("-----BEGIN X509 CRL-----\n")
    );
}

#[test]
fn a_list_that_would_last_for_ever_is_refused() {
    let (_home, hsm): (Home, Hsm) = Home::new();
    let root = root(&app(&hsm));
    for lasts in [
        Duration::MAX,
        Duration::from_secs(u64::MAX >> 1),
        Duration::from_secs(400 * 365 * 86_400 * 30),
    ] {
        let list = block_on(root.revocation_list(1, lasts, []));
        refused(list, ErrorKind::InvalidInput, "year 10000");
    }
}
