//! The private CA and the server's certificate.
//!
//! Each is made when it is missing, and the server's again when it is about to expire. Both go by the system's clock, as
//! clients do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use hsm_client::{Clock, Error, ErrorKind, Result, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::files::{read_secret, write_public, write_secret};

/// How long the CA is good, in days: ten years.
const CA_DAYS: i64 = 3650;
/// How long the server's certificate is good, in days. Some systems refuse more than 398.
const SERVER_DAYS: i64 = 397;
/// A certificate with fewer days left is made anew.
const RENEW_DAYS: i64 = 60;

/// Makes what is missing in `folder`.
pub(super) fn prepare(folder: &Path) -> Result<()> {
    let ca_file = folder.join("ca.pem");
    let ca_key_file = folder.join("ca.key");
    let ca = match (read_secret(&ca_file)?, read_secret(&ca_key_file)?) {
        (Some(certificate), Some(key)) if days_left(&certificate) > SERVER_DAYS => {
            let key = KeyPair::from_pem(&key).map_err(failed)?;
            Issuer::from_ca_cert_pem(&certificate, key).map_err(failed)?
        }
        _ => {
            let key = KeyPair::generate().map_err(failed)?;
            let params = ca_params()?;
            let certificate = params.self_signed(&key).map_err(failed)?;
            // The key first: a CA without a key would be made anew, and clients told again.
            write_secret(&ca_key_file, Zeroizing::new(key.serialize_pem()).as_bytes())?;
            write_public(&ca_file, certificate.pem().as_bytes())?;
            // What the former CA has signed is worth nothing now.
            write_server(folder, &Issuer::from_params(&params, &key))?;
            return Ok(());
        }
    };
    let server = read_secret(&folder.join("server.pem"))?;
    let key = read_secret(&folder.join("server.key"))?;
    match (server, key) {
        (Some(certificate), Some(_)) if days_left(&certificate) > RENEW_DAYS => Ok(()),
        _ => write_server(folder, &ca),
    }
}

fn write_server<K: rcgen::SigningKey>(folder: &Path, ca: &Issuer<'_, K>) -> Result<()> {
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = server_params()?.signed_by(&key, ca).map_err(failed)?;
    write_secret(
        &folder.join("server.key"),
        Zeroizing::new(key.serialize_pem()).as_bytes(),
    )?;
    write_public(&folder.join("server.pem"), certificate.pem().as_bytes())
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = params(CA_DAYS, "HSM development CA")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Whoever gets the key can pose as this machine to itself, and as nobody else.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                Ipv6Addr::LOCALHOST.octets(),
                128,
            )),
        ],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn server_params() -> Result<CertificateParams> {
    let mut params = params(SERVER_DAYS, "HSM development server")?;
    let name =
        |name: &str| -> Result<SanType> { Ok(SanType::DnsName(name.try_into().map_err(failed)?)) };
    params.subject_alt_names = vec![
        name("localhost")?,
        // No `*.localhost`: OpenSSL takes no wildcard with only one label behind it, and webpki, under the CA's name
        // constraints, no certificate that has one.
        name("dev.localhost")?,
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Good from yesterday, as clocks differ.
fn params(days: i64, name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = seconds_now();
    let (year, month, day) = date(now - DAY)?;
    params.not_before = date_time_ymd(year, month, day);
    let (year, month, day) = date(now + days * DAY)?;
    params.not_after = date_time_ymd(year, month, day);
    Ok(params)
}

/// In seconds.
const DAY: i64 = 24 * 60 * 60;

fn seconds_now() -> i64 {
    let now = SystemClock::default().now().unix_seconds();
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// The day of a point in time.
fn date(seconds: i64) -> Result<(i32, u8, u8)> {
    let time = jiff::Timestamp::from_second(seconds).map_err(|error| failed(error.to_string()))?;
    let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
    Ok((
        i32::from(date.year()),
        u8::try_from(date.month()).map_err(failed)?,
        u8::try_from(date.day()).map_err(failed)?,
    ))
}

/// How many days a certificate in PEM is still good; none if it is not one.
fn days_left(pem: &str) -> i64 {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
        return 0;
    };
    match X509Certificate::from_der(&der) {
        Ok((_, certificate)) => {
            (certificate.validity().not_after.timestamp() - seconds_now()) / DAY
        }
        Err(_) => 0,
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(
        ErrorKind::DeviceFailed,
        "a certificate of the development CA cannot be made",
    )
    .with_source(source)
}
