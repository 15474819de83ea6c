//! [`Transcript`]: answers in words that two services share.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hsm_core::policy::{BuiltInRole, RoleAssignment, RoleId};
use hsm_core::{
    Ciphertext, Error, ErrorKind, KeyInfo, KeyName, KeySpec, Page, PublicKey, Response, Result,
    TokenName, VersionId,
};

/// Writes down what a service answers, so that the answers of two services can be compared.
///
/// What every service chooses as it likes gets a number in the order of its first appearance: the first version of a key
/// is `v1` whatever its id. Signatures, ciphertexts, encapsulations and wrapped keys are kept, for later requests, and
/// not compared.
///
/// ```
/// use hsm_core::{Error, ErrorKind};
/// use hsm_testkit::history::Transcript;
///
/// let mut seen = Transcript::default();
/// let answer = Err(Error::new(ErrorKind::NotFound, "there is no key red"));
/// assert_eq!(seen.write(&answer), "error: NotFound");
/// ```
#[derive(Debug, Default)]
pub struct Transcript {
    versions: BTreeMap<KeyName, Vec<VersionId>>,
    publics: BTreeMap<VersionId, PublicKey>,
    specs: BTreeMap<KeyName, KeySpec>,
    products: Vec<Product>,
    backups: Vec<Vec<u8>>,
    tokens: BTreeMap<TokenName, Vec<u8>>,
    secrets: Vec<Vec<u8>>,
    assignments: Vec<RoleId>,
}

/// What an operation made.
#[derive(Clone, Debug)]
pub(super) enum Product {
    Bytes(Vec<u8>),
    Ciphertext(Ciphertext),
}

impl Transcript {
    /// The answer in words. Equal answers of two services have equal words.
    pub fn write(&mut self, answer: &Result<Response>) -> String {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return format!("error: {:?}", error.kind()),
        };
        match response {
            Response::Done => "done".to_owned(),
            Response::Key(info) => {
                self.specs.insert(info.name.clone(), info.attributes.spec);
                self.key(info)
            }
            Response::Keys(page) => {
                let next = page.next.as_ref().map(|next| match next.parse() {
                    Ok(version) => self.version_seen(version),
                    Err(_) => next.clone(),
                });
                let items = page.items.iter();
                list(items.map(|info| self.key(info)).collect(), next)
            }
            Response::RotationPolicy(policy) => format!("policy: {policy:?}"),
            Response::Signature { bytes, version } => {
                self.products.push(Product::Bytes(bytes.clone()));
                format!("signature by {}", self.version_seen(*version))
            }
            Response::Ciphertext {
                ciphertext,
                version,
            } => {
                self.products.push(Product::Ciphertext(ciphertext.clone()));
                format!("ciphertext by {}", self.version_seen(*version))
            }
            Response::Wrapped { bytes, version } => {
                self.products.push(Product::Bytes(bytes.clone()));
                format!("wrapped by {}", self.version_seen(*version))
            }
            Response::Encapsulated {
                encapsulated,
                version,
            } => {
                let ciphertext = encapsulated.ciphertext.clone();
                self.products.push(Product::Bytes(ciphertext));
                let secret = self.secret(encapsulated.secret.expose());
                format!("encapsulated to {}: {secret}", self.version_seen(*version))
            }
            Response::Backup(bytes) => {
                self.backups.push(bytes.clone());
                "a backup".to_owned()
            }
            Response::Token { token, info } => {
                let token = token.expose().to_vec();
                self.tokens.insert(info.name.clone(), token);
                format!("a token: {info:?}")
            }
            Response::Secret(secret) => self.secret(secret.expose()),
            Response::RoleDefinitions(roles) => {
                let custom = roles.iter().filter(|role| {
                    let mut built_in = BuiltInRole::ALL.iter();
                    built_in.all(|built_in| built_in.id() != role.id)
                });
                let custom = custom.map(|role| format!("{} {:?}", role.name, role.actions));
                format!("{} roles: {}", roles.len(), list(custom.collect(), None))
            }
            Response::RoleAssignments(all) => {
                let mut all: Vec<_> = all.iter().map(|one| self.describe(one)).collect();
                all.sort_unstable();
                list(all, None)
            }
            Response::RoleAssignment(one) => self.describe(one),
            Response::Users(Page { items, next }) => {
                let users = items.iter().map(|user| {
                    let locked = user
                        .locked_until
                        .map(|until| format!(" locked until {until}"));
                    let out = if user.enabled { "" } else { " disabled" };
                    let locked = locked.unwrap_or_default();
                    format!("{} of {}{out}{locked}", user.name, user.created)
                });
                list(users.collect(), next.clone())
            }
            Response::Partition(info) => format!("{:?}", info.settings),
            Response::AuditStreams(_) => "audit streams".to_owned(),
            Response::AuditRecords(_) => "audit records".to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// The id of a version of a key, by its number: 1 is the first that was seen.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if it was not seen.
    pub fn version(&self, name: &str, number: usize) -> Result<VersionId> {
        let found = number
            .checked_sub(1)
            .and_then(|at| self.versions.get(name)?.get(at));
        found.copied().ok_or_else(unseen)
    }

    /// The signature, MAC, wrapped key or encapsulation that was made as the `number`th of all, ciphertexts counted; 0 is the first.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none.
    pub fn bytes(&self, number: usize) -> Result<Vec<u8>> {
        match self.products.get(number) {
            Some(Product::Bytes(bytes)) => Ok(bytes.clone()),
            _ => Err(unseen()),
        }
    }

    /// The ciphertext that was made as the `number`th of all, signatures and the like counted; 0 is the first.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none.
    pub fn ciphertext(&self, number: usize) -> Result<Ciphertext> {
        match self.products.get(number) {
            Some(Product::Ciphertext(ciphertext)) => Ok(ciphertext.clone()),
            _ => Err(unseen()),
        }
    }

    /// The `number`th backup that was made; 0 is the first.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none.
    pub fn backup(&self, number: usize) -> Result<Vec<u8>> {
        self.backups.get(number).cloned().ok_or_else(unseen)
    }

    /// The last token that was made under that name.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none.
    pub fn token(&self, name: &str) -> Result<Vec<u8>> {
        let found = self.tokens.get(&name.parse::<TokenName>()?);
        found.cloned().ok_or_else(unseen)
    }

    /// How many backups were made.
    pub(super) fn backups(&self) -> usize {
        self.backups.len()
    }

    /// The id of a role assignment, by its number: 1 is the first that was seen.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if it was not seen.
    pub fn assignment(&self, number: usize) -> Result<RoleId> {
        let found = number
            .checked_sub(1)
            .and_then(|at| self.assignments.get(at));
        found.copied().ok_or_else(unseen)
    }

    /// How many versions of a key were seen.
    pub(super) fn versions_of(&self, name: &str) -> usize {
        self.versions.get(name).map_or(0, Vec::len)
    }

    /// How many versions of all keys were seen.
    pub(super) fn versions_seen(&self) -> usize {
        self.versions.values().map(Vec::len).sum()
    }

    pub(super) fn products(&self) -> usize {
        self.products.len()
    }

    /// What a key was when it was last seen alone.
    pub(super) fn spec(&self, name: &str) -> Option<&KeySpec> {
        self.specs.get(name)
    }

    /// The public half of a version, as it was first shown.
    pub(super) fn public(&mut self, info: &KeyInfo) -> Option<&PublicKey> {
        if let Some(public) = &info.public {
            self.publics
                .entry(info.version)
                .or_insert_with(|| public.clone());
        }
        self.public_of(info.version)
    }

    pub(super) fn public_of(&self, version: VersionId) -> Option<&PublicKey> {
        self.publics.get(&version)
    }

    fn key(&mut self, info: &KeyInfo) -> String {
        let seen = self.versions.entry(info.name.clone()).or_default();
        let known = seen.iter().position(|version| *version == info.version);
        let at = known.unwrap_or_else(|| {
            seen.push(info.version);
            seen.len() - 1
        });
        let mut text = format!("{} v{} {:?}", info.name, at + 1, info.attributes);
        if let Some(deletion) = info.deletion {
            let (deleted, purge_at) = (deletion.deleted, deletion.purge_at);
            let _ = write!(text, " deleted {deleted}, to be purged {purge_at}");
        }
        text
    }

    fn version_seen(&self, version: VersionId) -> String {
        let all = self.versions.iter();
        let mut found = all.filter_map(|(name, versions)| {
            let at = versions.iter().position(|seen| *seen == version)?;
            Some(format!("{name} v{}", at + 1))
        });
        found
            .next_back()
            .unwrap_or_else(|| "a version that nobody has seen".to_owned())
    }

    /// Text as it is; other bytes by number and length.
    fn secret(&mut self, secret: &[u8]) -> String {
        let text = std::str::from_utf8(secret).ok();
        let text = text.filter(|text| text.chars().all(|c| c.is_ascii_graphic() || c == ' '));
        if let Some(text) = text {
            return format!("secret: {text}");
        }
        let known = self.secrets.iter().position(|seen| seen == secret);
        let at = known.unwrap_or_else(|| {
            self.secrets.push(secret.to_vec());
            self.secrets.len() - 1
        });
        format!("secret {} of {} bytes", at + 1, secret.len())
    }

    fn describe(&mut self, one: &RoleAssignment) -> String {
        let known = self.assignments.iter().position(|id| *id == one.id);
        let at = known.unwrap_or_else(|| {
            self.assignments.push(one.id);
            self.assignments.len() - 1
        });
        let (role, who, scope) = (one.role, &one.principal, &one.scope);
        let created = one.created;
        format!(
            "assignment {}: {role} to {who} at {scope} of {created}",
            at + 1
        )
    }
}

fn list(items: Vec<String>, next: Option<String>) -> String {
    let mut text = items.join("; ");
    if items.is_empty() {
        text.push_str("nothing");
    }
    if let Some(next) = next {
        let _ = write!(text, "; more after {next}");
    }
    text
}

fn unseen() -> Error {
    Error::new(ErrorKind::NotFound, "nothing of that number was seen")
}
