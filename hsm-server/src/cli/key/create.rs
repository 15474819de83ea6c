//! `hsm key create` and `hsm key import`.

use clap::Args;
use hsm_client::{
    Algorithm, KeyMaterial, KeyName, KeySpec, KeyType, PcrSelection, RotationPolicy, SecretBytes,
    Tags, Usage, Usages, limits,
};
use hsm_core::{IfTaken, NewKeyParameters, Operation, Request};

use super::info;
use super::update::parse_tag;
use crate::cli::Result;
use crate::cli::connect::Connect;
use crate::cli::failure::Failure;
use crate::cli::output::{Out, Place};
use crate::cli::view::KeyView;
use crate::cli::when::When;

#[derive(Args, Debug)]
pub(super) struct Create {
    /// The key's name: letters, digits and dashes
    name: KeyName,

    /// Type and size: EC-P256, RSA-3072, AES-256, Ed25519, ML-DSA-65, …
    #[arg(long, value_name = "TYPE")]
    r#type: KeyType,

    #[command(flatten)]
    new: New,
}

#[derive(Args, Debug)]
pub(super) struct Import {
    /// The key's name: letters, digits and dashes
    name: KeyName,

    /// The file: PEM, PKCS#8 DER or a JSON Web Key; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,

    /// The type of a symmetric key, which its octets do not tell
    #[arg(long, value_name = "TYPE")]
    r#type: Option<KeyType>,

    #[command(flatten)]
    new: New,
}

/// What a new key shall be, beyond its type.
#[derive(Args, Debug)]
struct New {
    /// What it may be used for: sign, verify, encrypt, decrypt, wrapKey, unwrapKey, deriveKey, deriveBits, import, export,
    /// encapsulate, decapsulate; what the algorithm does if not given
    #[arg(long = "usage", value_name = "USAGE", value_delimiter = ',')]
    usages: Vec<Usage>,

    /// The one algorithm that it may be used with; any that fits if not given, but AES keys are for GCM then
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,

    /// Of no use before: a time, a date or a period from now
    #[arg(long, value_name = "WHEN")]
    not_before: Option<When>,

    /// Deactivated from then on: a time, a date or a period from now
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,

    /// Make it in pre-activation: of no use until `update --event activate`
    #[arg(long)]
    pre_activation: bool,

    /// Let it leave the HSM wrapped under a transport key; fixed for its life
    #[arg(long)]
    exportable: bool,

    /// Of a TPM: tie it to what these platform configuration registers hold now, such as 0,2,4,7; fixed for its life
    #[arg(long, value_name = "NUMBERS")]
    boot_state: Option<PcrSelection>,

    /// A tag NAME=VALUE; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,

    /// Make new versions by themselves, so long after each: an ISO 8601 period such as P90D
    #[arg(long, value_name = "PERIOD")]
    rotate_after: Option<String>,

    /// If the name is taken, make this the current version of the key that has it, as Key Vault does
    #[arg(long)]
    add_version: bool,
}

impl Create {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        let name = self.name;
        let new = self.new.parameters(self.r#type)?;
        connect
            .with(async |session| {
                let progress = out.progress(&format!("making {} key", self.r#type), None);
                let info = info(session, Request::CreateKey { name, new }).await?;
                drop(progress);
                out.one(&KeyView::new(&info)?)
            })
            .await
    }
}

impl Import {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        // Twice, for the text forms.
        let bytes = self.file.read(2 * limits::KEY_MATERIAL_LEN_MAX)?;
        let (key_type, material) = read_material(&bytes, self.r#type)?;
        drop(bytes);
        let name = self.name;
        let new = self.new.parameters(key_type)?;
        connect
            .with(async |session| {
                let request = Request::ImportKey {
                    name,
                    new,
                    material,
                };
                let info = info(session, request).await?;
                out.one(&KeyView::new(&info)?)
            })
            .await
    }
}

/// Tells PEM, JSON Web Key and DER apart by how they begin.
fn read_material(bytes: &SecretBytes, given: Option<KeyType>) -> Result<(KeyType, SecretBytes)> {
    let text = bytes.expose().trim_ascii_start();
    if let Some(key_type) = given
        && !key_type.is_asymmetric()
        && !text.starts_with(b"{")
    {
        return Ok((key_type, SecretBytes::copy_from(bytes.expose())));
    }
    let material = if text.starts_with(b"-----BEGIN") {
        KeyMaterial::from_pem(bytes.expose())?
    } else if text.starts_with(b"{") {
        KeyMaterial::from_jwk(bytes.expose())?
    } else {
        KeyMaterial::from_pkcs8_der(bytes.expose())?
    };
    match (given, material.key_type()) {
        (Some(given), Some(found)) if given != found => Err(Failure::usage(format!(
            "the file holds a key of type {found}, not {given}"
        ))),
        (Some(key_type), _) | (None, Some(key_type)) => Ok((key_type, material.into())),
        (None, None) => Err(
            Failure::usage("a symmetric key does not say what it is for")
                .hint("add --type, such as --type AES-256"),
        ),
    }
}

impl New {
    fn parameters(self, key_type: KeyType) -> Result<NewKeyParameters> {
        let (algorithm, usages) =
            defaults(key_type, self.algorithm, self.usages.into_iter().collect());
        let mut spec = KeySpec::new(key_type, usages)?;
        if let Some(algorithm) = algorithm {
            spec = spec.only(algorithm)?;
        }
        if self.exportable {
            spec = spec.exportable();
        }
        if let Some(registers) = self.boot_state {
            spec = spec.in_boot_state(registers);
        }
        let mut new = NewKeyParameters::new(spec);
        new.not_before = self.not_before.map(When::timestamp);
        new.expires = self.expires.map(When::timestamp);
        new.pre_activation = self.pre_activation;
        new.tags = Tags::new(self.tags)?;
        if let Some(period) = self.rotate_after {
            new.rotation = Some(RotationPolicy::rotate_after(&period)?);
        }
        if self.add_version {
            new.if_taken = IfTaken::AddVersion;
        }
        Ok(new)
    }
}

/// The algorithm that a key is bound to, and its usages, where they are not given.
fn defaults(
    key_type: KeyType,
    algorithm: Option<Algorithm>,
    usages: Usages,
) -> (Option<Algorithm>, Usages) {
    if !usages.is_empty() {
        return (algorithm, usages);
    }
    let first = key_type.algorithms().first().copied();
    // An AES key for any mode would decrypt what GCM encrypted, through CTR.
    let bound = algorithm.or_else(|| {
        first.filter(|algorithm| algorithm.does(Operation::Encrypt) && !key_type.is_asymmetric())
    });
    let usages = match algorithm.or(first) {
        Some(algorithm) => natural_usages(algorithm),
        None => key_type.info().usages,
    };
    (bound, usages)
}

/// What an algorithm is for.
fn natural_usages(algorithm: Algorithm) -> Usages {
    let does = |operation| algorithm.does(operation);
    if does(Operation::Sign) || does(Operation::Mac) {
        Usages::of(&[Usage::Sign, Usage::Verify])
    } else if does(Operation::Encrypt) {
        Usages::of(&[Usage::Encrypt, Usage::Decrypt])
    } else if does(Operation::Wrap) {
        Usages::of(&[Usage::WrapKey, Usage::UnwrapKey])
    } else if does(Operation::Agree) {
        Usages::of(&[Usage::DeriveBits])
    } else if does(Operation::Derive) {
        Usages::of(&[Usage::DeriveKey])
    } else if does(Operation::Encapsulate) {
        Usages::of(&[Usage::Encapsulate, Usage::Decapsulate])
    } else {
        // What is left transports keys.
        Usages::of(&[Usage::Import, Usage::Export])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_usages_that_it_may_have() {
        for key_type in KeyType::all() {
            let (algorithm, usages) = defaults(key_type, None, Usages::NONE);
            let spec = KeySpec::new(key_type, usages).unwrap();
            assert_eq!(algorithm.is_some(), key_type.name().starts_with("AES"));
            if let Some(algorithm) = algorithm {
                spec.only(algorithm).unwrap();
            }
        }
    }

    #[test]
    fn every_algorithm_has_usages_that_its_keys_may_have() {
        for key_type in KeyType::all() {
            for &algorithm in key_type.algorithms() {
                let (bound, usages) = defaults(key_type, Some(algorithm), Usages::NONE);
                assert_eq!(bound, Some(algorithm));
                KeySpec::new(key_type, usages).unwrap();
            }
        }
    }
}
