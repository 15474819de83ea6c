//! A program that signs documents. It knows the crates `signature` and `spki`, and nothing of where keys are.

use std::error::Error;

use signature::{AsyncSigner, Keypair, SignatureEncoding, Signer, Verifier};
use spki::der::Encode;
use spki::{DecodePublicKey, DynSignatureAlgorithmIdentifier, EncodePublicKey};

/// What goes over the wire: all of it bytes.
pub(crate) struct SignedDocument {
    pub(crate) document: Vec<u8>,
    pub(crate) algorithm: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

pub(crate) fn sign<K, S>(key: &K, document: &[u8]) -> Result<SignedDocument, Box<dyn Error>>
where
    K: Signer<S> + Keypair + DynSignatureAlgorithmIdentifier,
    K::VerifyingKey: Verifier<S> + EncodePublicKey,
    S: SignatureEncoding,
{
    let signature = key.try_sign(document)?;
    pack(key, document, &signature)
}

pub(crate) async fn sign_async<K, S>(
    key: &K,
    document: &[u8],
) -> Result<SignedDocument, Box<dyn Error>>
where
    K: AsyncSigner<S> + Keypair + DynSignatureAlgorithmIdentifier,
    K::VerifyingKey: Verifier<S> + EncodePublicKey,
    S: SignatureEncoding,
{
    let signature = key.sign_async(document).await?;
    pack(key, document, &signature)
}

/// Verifies with what the document brings along.
pub(crate) fn verify<V, S>(signed: &SignedDocument) -> Result<(), Box<dyn Error>>
where
    V: DecodePublicKey + Verifier<S>,
    S: SignatureEncoding,
{
    let key = V::from_public_key_der(&signed.public_key)?;
    let signature = S::try_from(&signed.signature).map_err(|_| "not a signature")?;
    Ok(key.verify(&signed.document, &signature)?)
}

fn pack<K, S>(key: &K, document: &[u8], signature: &S) -> Result<SignedDocument, Box<dyn Error>>
where
    K: Keypair + DynSignatureAlgorithmIdentifier,
    K::VerifyingKey: Verifier<S> + EncodePublicKey,
    S: SignatureEncoding,
{
    let public_key = key.verifying_key();
    public_key.verify(document, signature)?;
    Ok(SignedDocument {
        document: document.to_vec(),
        algorithm: key.signature_algorithm_identifier()?.to_der()?,
        public_key: public_key.to_public_key_der()?.into_vec(),
        signature: signature.to_vec(),
    })
}
