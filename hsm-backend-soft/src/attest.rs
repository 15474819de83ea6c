//! Key reports of the software device, which say that they are of software (`docs/key_report.md`).

use hsm_core::attestation::{AttestRequest, AttestationKeyId, Claims, Evidence, Proof};
use hsm_core::{Algorithm, Binding, KeySpec, KeyType, PublicKey, Result, SignInput, Usage, Usages};

use crate::error::failed;
use crate::provider::{ParsedKey, Provider};
use crate::seal::derive_key;

/// The attestation key: Ed25519, with a seed that follows from the domain key, so that there is nothing to keep.
pub(crate) fn attestation_key(
    provider: &dyn Provider,
    domain_key: &[u8],
) -> Result<Box<dyn ParsedKey>> {
    let seed = derive_key(domain_key, &[], &[INFO])?;
    provider.parse(
        KeyType::Ed25519,
        Usages::of(&[Usage::Sign]),
        seed.as_slice(),
    )
}

/// States what a key is.
pub(crate) fn attest(
    attester: &dyn ParsedKey,
    spec: KeySpec,
    public: Option<&PublicKey>,
    binding: &Binding,
    request: &AttestRequest,
) -> Result<Evidence> {
    let key = attester
        .public()
        .ok_or_else(|| failed("the attestation key has no public half"))?;
    let id = AttestationKeyId::of(&key.to_spki_der()?);
    let claims = Claims::new(request, "software", id, spec, public.cloned(), binding);
    let unsigned = claims.prove(&Proof::Software(key.clone()), key)?;
    let message = unsigned.to_be_signed();
    let signature = attester.sign(Algorithm::EdDsa, SignInput::Message(&message))?;
    unsigned.sign(&signature)
}

const INFO: &[u8] = b"hsm attestation v1";
