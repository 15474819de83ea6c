//! [`CreateKey`]: the builder of new keys.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;

use hsm_core::policy::RotationPolicy;
use hsm_core::{
    Algorithm, Error, ErrorKind, IfTaken, KeyInfo, KeyRef, KeySpec, NewKeyParameters, PcrSelection,
    Request, Result, SecretBytes, Tags, Timestamp, WrappedFormat,
};

use crate::session::{Session, parse_name};

/// A key that is about to be made. Add what it needs, then `.await` it.
///
/// ```
/// use hsm_client::kinds::Aes256Gcm;
/// use hsm_client::{RotationPolicy, Session};
///
/// # async fn example(session: &Session) -> Result<(), hsm_client::Error> {
/// let key = session
///     .create::<Aes256Gcm>("customer-data")
///     .rotation(RotationPolicy::rotate_after("P90D")?)
///     .tag("owner", "billing")
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Conflict`](hsm_core::ErrorKind::Conflict) if the name is taken, also by a soft-deleted key
/// (see [`or_add_version`](CreateKey::or_add_version));
/// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) for a name, period or material that is not right;
/// [`Unsupported`](hsm_core::ErrorKind::Unsupported) if the device has no such keys.
#[derive(Debug)]
#[must_use = "nothing is made until it is awaited"]
pub struct CreateKey<'s, K> {
    session: &'s Session,
    name: String,
    spec: Result<KeySpec>,
    source: Source,
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    pre_activation: bool,
    exportable: bool,
    boot_state: Option<PcrSelection>,
    tags: Vec<(String, String)>,
    rotation: Option<RotationPolicy>,
    if_taken: IfTaken,
    handle: PhantomData<fn() -> K>,
}

/// Where the key comes from.
#[derive(Debug)]
pub(crate) enum Source {
    Generate,
    Clear(SecretBytes),
    Wrapped {
        wrapping: KeyRef,
        algorithm: Algorithm,
        bytes: Vec<u8>,
        format: WrappedFormat,
    },
}

/// What a builder makes: [`Key`](crate::Key) or [`AnyKey`](crate::AnyKey). The trait is sealed; see [`CreateKey`] for an
/// example.
pub trait Handle: sealed::Sealed + Sized + Send {
    #[doc(hidden)]
    fn from_info(session: Session, info: &KeyInfo) -> Self;
}

mod sealed {
    #[expect(unnameable_types, reason = "this is what seals the trait")]
    pub trait Sealed {}

    impl<A> Sealed for crate::Key<A> {}
    impl Sealed for crate::AnyKey {}
}

impl<'s, K> CreateKey<'s, K> {
    pub(crate) fn new(
        session: &'s Session,
        name: &str,
        spec: Result<KeySpec>,
        source: Source,
    ) -> Self {
        Self {
            session,
            name: name.to_owned(),
            spec,
            source,
            not_before: None,
            expires: None,
            pre_activation: false,
            exportable: false,
            boot_state: None,
            tags: Vec::new(),
            rotation: None,
            if_taken: IfTaken::default(),
            handle: PhantomData,
        }
    }

    /// Makes the key of no use before `time`.
    pub fn not_before(mut self, time: Timestamp) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Deactivates the key at `time`: from then on it verifies and decrypts, and neither signs nor encrypts.
    pub fn expires(mut self, time: Timestamp) -> Self {
        self.expires = Some(time);
        self
    }

    /// Makes the key in pre-activation: of no use until it is activated.
    pub fn pre_activation(mut self) -> Self {
        self.pre_activation = true;
        self
    }

    /// Lets the key leave the HSM, wrapped under a transport key. Fixed for the life of the key.
    pub fn exportable(mut self) -> Self {
        self.exportable = true;
        self
    }

    /// Ties the key to the state in which the machine was started: it works only while `registers` of the TPM hold what they
    /// hold now, and a use in another state is [`KeyState`](hsm_core::ErrorKind::KeyState). Each version is tied to the state
    /// in which it is made. Fixed for the life of the key. Devices other than a TPM refuse
    /// ([`Unsupported`](hsm_core::ErrorKind::Unsupported)).
    ///
    /// ```
    /// use hsm_client::kinds::EcdsaP256;
    /// use hsm_client::{PcrSelection, Session};
    ///
    /// # async fn example(session: &Session) -> Result<(), hsm_client::Error> {
    /// // Firmware, and the keys of secure boot.
    /// let registers = PcrSelection::of(&[0, 7])?;
    /// let key = session.create::<EcdsaP256>("host").in_boot_state(registers).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_boot_state(mut self, registers: PcrSelection) -> Self {
        self.boot_state = Some(registers);
        self
    }

    /// Attaches a label.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), value.into()));
        self
    }

    /// Has new versions made by themselves.
    pub fn rotation(mut self, policy: RotationPolicy) -> Self {
        self.rotation = Some(policy);
        self
    }

    /// Makes a new version of the key of this name, if there is one that is not deleted, as Key Vault does. The version
    /// becomes the current one and may be of another type; the key keeps its rotation policy unless it is given another.
    ///
    /// ```
    /// use hsm_client::Session;
    /// use hsm_client::kinds::{EcdsaP256, EcdsaP384};
    ///
    /// # async fn example(session: &Session) -> Result<(), hsm_client::Error> {
    /// session.create::<EcdsaP256>("invoices").await?;
    /// let stronger = session.create::<EcdsaP384>("invoices").or_add_version().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn or_add_version(mut self) -> Self {
        self.if_taken = IfTaken::AddVersion;
        self
    }

    async fn send(self) -> Result<KeyInfo> {
        let name = parse_name(&self.name)?;
        let spec = self.spec?;
        let spec = if self.exportable {
            spec.exportable()
        } else {
            spec
        };
        let spec = match self.boot_state {
            Some(registers) => spec.in_boot_state(registers),
            None => spec,
        };
        let boot_state = spec.boot_state;
        let mut new = NewKeyParameters::new(spec);
        new.not_before = self.not_before;
        new.expires = self.expires;
        new.pre_activation = self.pre_activation;
        new.tags = Tags::new(self.tags)?;
        new.rotation = self.rotation;
        new.if_taken = self.if_taken;
        let request = match &self.source {
            Source::Generate => Request::CreateKey { name, new },
            Source::Clear(material) => Request::ImportKey {
                name,
                new,
                material: SecretBytes::copy_from(material.expose()),
            },
            Source::Wrapped {
                wrapping,
                algorithm,
                bytes,
                format,
            } => Request::ImportWrappedKey {
                name,
                new,
                wrapping: wrapping.clone(),
                algorithm: *algorithm,
                wrapped: bytes,
                format: *format,
            },
        };
        let info = self.session.key_info(request).await?;
        if info.attributes.spec.boot_state != boot_state {
            // Another service leaves out of a request what it does not know.
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the service made the key {} {} and did not tie it to a boot state: delete it",
                    info.name, info.version
                ),
            ));
        }
        Ok(info)
    }
}

impl<'s, K: Handle + 's> IntoFuture for CreateKey<'s, K> {
    type Output = Result<K>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<K>> + Send + 's>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let session = self.session;
            let info = self.send().await?;
            Ok(K::from_info(session.clone(), &info))
        })
    }
}
