//! [`Session`]: what a principal who is logged in can do.

use std::sync::Arc;

use hsm_core::audit::{Frame, RequestId, StreamId};
use hsm_core::key::typed::{KeyKind, Transport};
use hsm_core::policy::{ActionSet, RoleAssignment, RoleDefinition, RoleId, Scope};
use hsm_core::{
    Error, ErrorKind, KeyInfo, KeyName, KeyRef, KeySpec, Page, PageRequest, PartitionInfo,
    Principal, Request, Response, Result, SecretBytes, SettingsUpdate, Timestamp, TokenInfo,
    UserInfo, UserUpdate, WrappedFormat,
};

use crate::create::{CreateKey, Source};
use crate::hsm::Shared;
use crate::key::{AnyKey, Key, Wrapped};

/// A principal's session. Cheap to clone; all clones are the same session, which ends with [`logout`](Session::logout),
/// when it was not used for 15 minutes, or after 12 hours.
///
/// Every method can fail with [`Denied`](ErrorKind::Denied), which names the data action and scope that the principal
/// lacks, and with [`Unauthenticated`](ErrorKind::Unauthenticated) when the session has ended.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<Shared>,
    session: Arc<dyn hsm_core::Session>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, session: Arc<dyn hsm_core::Session>) -> Self {
        Self { shared, session }
    }

    /// Sends a request as it is: what the typed methods are made of.
    ///
    /// # Errors
    ///
    /// Whatever the HSM answers.
    pub async fn call(&self, request: Request<'_>) -> Result<Response> {
        self.session.call(self.shared.next_request(), request).await
    }

    /// As [`call`](Self::call), under an id of the caller's: a server passes its client's on, into the audit record.
    ///
    /// # Errors
    ///
    /// Whatever the HSM answers.
    pub async fn call_as(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        self.session.call(id, request).await
    }

    /// Who is logged in.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.session.principal()
    }

    /// Ends the session, with all its clones and keys.
    pub async fn logout(&self) {
        self.session.logout().await;
    }

    // Keys.

    /// Makes a key: `session.create::<EcdsaP384>("invoices").await?`. The builder takes more before it is awaited.
    pub fn create<A: KeyKind>(&self, name: &str) -> CreateKey<'_, Key<A>> {
        let spec = A::spec();
        CreateKey::new(self, name, spec, Source::Generate)
    }

    /// Makes a key of a type that is known only at run time.
    pub fn create_any(&self, name: &str, spec: KeySpec) -> CreateKey<'_, AnyKey> {
        CreateKey::new(self, name, Ok(spec), Source::Generate)
    }

    /// Imports a key that the caller holds in clear: PKCS#8 DER, or raw octets for symmetric keys. [`KeyMaterial`](hsm_core::key::KeyMaterial) reads
    /// PEM and JSON Web Keys.
    ///
    /// ```
    /// use hsm_client::kinds::EcdsaP256;
    /// use hsm_client::{KeyMaterial, Session};
    ///
    /// # async fn with(session: Session, pem: &[u8]) -> hsm_client::Result<()> {
    /// let key = session
    ///     .import::<EcdsaP256>("invoices", KeyMaterial::from_pem(pem)?)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn import<A: KeyKind>(
        &self,
        name: &str,
        material: impl Into<SecretBytes>,
    ) -> CreateKey<'_, Key<A>> {
        let spec = A::spec();
        CreateKey::new(self, name, spec, Source::Clear(material.into()))
    }

    /// Imports a key of a type that is known only at run time, such as that of [`KeyMaterial::key_type`](hsm_core::key::KeyMaterial::key_type).
    pub fn import_any(
        &self,
        name: &str,
        spec: KeySpec,
        material: impl Into<SecretBytes>,
    ) -> CreateKey<'_, AnyKey> {
        CreateKey::new(self, name, Ok(spec), Source::Clear(material.into()))
    }

    /// Imports a key that was [exported](Key::export) from an HSM that knows the same transport key.
    pub fn import_wrapped<A: KeyKind, T: Transport>(
        &self,
        name: &str,
        transport: &Key<T>,
        wrapped: &Wrapped,
    ) -> CreateKey<'_, Key<A>> {
        self.unwrap_into(name, transport, wrapped, WrappedFormat::Bound)
    }

    /// Imports a key of another system, wrapped under a transport key of this HSM: bare PKCS#8 DER or raw octets (bring
    /// your own key). Such a key is never exportable.
    pub fn import_wrapped_bare<A: KeyKind, T: Transport>(
        &self,
        name: &str,
        transport: &Key<T>,
        wrapped: &Wrapped,
    ) -> CreateKey<'_, Key<A>> {
        self.unwrap_into(name, transport, wrapped, WrappedFormat::Bare)
    }

    fn unwrap_into<A: KeyKind, T: Transport>(
        &self,
        name: &str,
        transport: &Key<T>,
        wrapped: &Wrapped,
        format: WrappedFormat,
    ) -> CreateKey<'_, Key<A>> {
        let spec = A::spec();
        let source = Source::Wrapped {
            wrapping: transport.at_version(wrapped.version()),
            algorithm: T::ALGORITHM,
            bytes: wrapped.bytes().to_vec(),
            format,
        };
        CreateKey::new(self, name, spec, source)
    }

    /// A handle for a key that exists. Without a version in the name it follows rotation: the current version is used.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), or [`InvalidInput`](ErrorKind::InvalidInput) if the key is of another type or
    /// lacks a usage that `A` stands for.
    pub async fn key<A: KeyKind>(&self, name: &str) -> Result<Key<A>> {
        self.any_key(name).await?.typed()
    }

    /// A handle for a key of a type that is known only at run time.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn any_key(&self, name: &str) -> Result<AnyKey> {
        let key: KeyRef = name.parse()?;
        let info = self.key_info(Request::GetKey { key: key.clone() }).await?;
        Ok(AnyKey::new(self.clone(), key, &info))
    }

    /// Lists keys by name: the current version of each.
    ///
    /// # Errors
    ///
    /// As for every method.
    pub async fn list_keys(&self, page: PageRequest) -> Result<Page<KeyInfo>> {
        self.key_page(Request::ListKeys { page }).await
    }

    /// Lists soft-deleted keys by name.
    ///
    /// # Errors
    ///
    /// As for every method.
    pub async fn list_deleted_keys(&self, page: PageRequest) -> Result<Page<KeyInfo>> {
        self.key_page(Request::ListDeletedKeys { page }).await
    }

    /// A soft-deleted key.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if it is not soft-deleted.
    pub async fn deleted_key(&self, name: &str) -> Result<KeyInfo> {
        let name = name.parse()?;
        self.key_info(Request::GetDeletedKey { name }).await
    }

    /// Brings a soft-deleted key back, with all its versions.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if it is not soft-deleted.
    pub async fn recover_key(&self, name: &str) -> Result<KeyInfo> {
        let name = name.parse()?;
        self.key_info(Request::RecoverKey { name }).await
    }

    /// Destroys a soft-deleted key with all its versions, for good.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if it is not soft-deleted, [`KeyState`](ErrorKind::KeyState) under purge
    /// protection.
    pub async fn purge_key(&self, name: &str) -> Result<()> {
        let name = name.parse()?;
        self.done(Request::PurgeKey { name }).await
    }

    /// Seals a key with all its versions, its rotation policy and its attributes, to be restored into this partition only.
    /// Nobody can read or change what is in it; it is not secret, but whoever may restore it can bring the key back after
    /// it was purged.
    ///
    /// ```
    /// use hsm_client::kinds::EcdsaP256;
    /// use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
    ///
    /// # pollster::block_on(async {
    /// let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
    /// let admin = hsm.login("admin", "an administrator's password").await?;
    /// admin.assign_role(BuiltInRole::CryptoUser, "admin", Scope::Keys).await?;
    /// admin.assign_role(BuiltInRole::CryptoOfficer, "admin", Scope::Global).await?;
    ///
    /// let key = admin.create::<EcdsaP256>("invoices").await?;
    /// let signature = key.sign(b"pay 100 to Alice").await?;
    /// let backup = admin.backup_key("invoices").await?;
    /// key.delete().await?;
    /// admin.purge_key("invoices").await?;
    ///
    /// admin.restore_key(&backup).await?;
    /// let key = admin.key::<EcdsaP256>("invoices").await?;
    /// key.verify(b"pay 100 to Alice", &signature).await?;
    /// # Ok::<(), hsm_client::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such key, or it is soft-deleted.
    pub async fn backup_key(&self, name: &str) -> Result<Vec<u8>> {
        let name = name.parse()?;
        match self.call(Request::BackupKey { name }).await? {
            Response::Backup(backup) => Ok(backup),
            other => Err(unexpected(&other)),
        }
    }

    /// Brings a key back from its [backup](Self::backup_key), as it was then, under its old name and versions. A version
    /// that was compromised when it was purged comes back compromised.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if the name is taken, also by a soft-deleted key,
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is no backup, or one of another partition,
    /// [`Damaged`](ErrorKind::Damaged) for one that was changed.
    pub async fn restore_key(&self, backup: &[u8]) -> Result<KeyInfo> {
        self.key_info(Request::RestoreKey { backup }).await
    }

    /// Random bytes from the device, at most 64 KiB.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded).
    pub async fn random(&self, len: usize) -> Result<SecretBytes> {
        self.secret(Request::Random { len }).await
    }

    // Roles.

    /// The role definitions: the built-in ones, then the custom ones.
    ///
    /// # Errors
    ///
    /// As for every method.
    pub async fn role_definitions(&self) -> Result<Vec<RoleDefinition>> {
        match self.call(Request::ListRoleDefinitions).await? {
            Response::RoleDefinitions(definitions) => Ok(definitions),
            other => Err(unexpected(&other)),
        }
    }

    /// Creates a custom role, or replaces the one with this id. Says what it is now.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if another role has the name, [`LimitExceeded`](ErrorKind::LimitExceeded).
    pub async fn define_role(
        &self,
        id: RoleId,
        name: &str,
        description: &str,
        actions: ActionSet,
    ) -> Result<RoleDefinition> {
        let definition = RoleDefinition::new(id, name, description, actions)?;
        self.role_definition(Request::PutRoleDefinition { definition })
            .await
    }

    /// Deletes a custom role. Says what it was.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) while somebody has it.
    pub async fn delete_role(&self, id: RoleId) -> Result<RoleDefinition> {
        self.role_definition(Request::DeleteRoleDefinition { id })
            .await
    }

    /// The role assignments, of one scope or all.
    ///
    /// # Errors
    ///
    /// As for every method.
    pub async fn role_assignments(&self, scope: Option<Scope>) -> Result<Vec<RoleAssignment>> {
        match self.call(Request::ListRoleAssignments { scope }).await? {
            Response::RoleAssignments(assignments) => Ok(assignments),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives a principal a role at a scope.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such role, [`Conflict`](ErrorKind::Conflict) if the principal has it
    /// there already, [`LimitExceeded`](ErrorKind::LimitExceeded).
    pub async fn assign_role(
        &self,
        role: impl Into<RoleId>,
        principal: &str,
        scope: Scope,
    ) -> Result<RoleAssignment> {
        let request = Request::CreateRoleAssignment {
            id: None,
            role: role.into(),
            principal: Principal::new(principal)?,
            scope,
        };
        self.role_assignment(request).await
    }

    /// Takes a role away. Says who had it, and where.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), or [`Conflict`](ErrorKind::Conflict) if nobody could assign roles any more.
    pub async fn unassign_role(&self, assignment: RoleId) -> Result<RoleAssignment> {
        self.role_assignment(Request::DeleteRoleAssignment { id: assignment })
            .await
    }

    // Users.

    /// Creates a user, who has no role yet.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if the name is taken, [`InvalidInput`](ErrorKind::InvalidInput) for a password that
    /// is too short.
    pub async fn create_user(&self, name: &str, password: impl AsRef<[u8]>) -> Result<()> {
        let name = Principal::new(name)?;
        let password = SecretBytes::copy_from(password.as_ref());
        self.done(Request::CreateUser { name, password }).await
    }

    /// Lists users by name.
    ///
    /// # Errors
    ///
    /// As for every method.
    pub async fn list_users(&self, page: PageRequest) -> Result<Page<UserInfo>> {
        match self.call(Request::ListUsers { page }).await? {
            Response::Users(users) => Ok(users),
            other => Err(unexpected(&other)),
        }
    }

    /// Enables, disables or unlocks a user, or sets a new password.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), or [`Conflict`](ErrorKind::Conflict) to disable oneself.
    pub async fn update_user(&self, name: &str, update: UserUpdate) -> Result<()> {
        let name = Principal::new(name)?;
        self.done(Request::UpdateUser { name, update }).await
    }

    /// Deletes a user, with its roles and API tokens. Sessions that are open end.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), or [`Conflict`](ErrorKind::Conflict) for oneself.
    pub async fn delete_user(&self, name: &str) -> Result<()> {
        let name = Principal::new(name)?;
        self.done(Request::DeleteUser { name }).await
    }

    /// Changes one's own password. Every session of the user ends, this one too.
    ///
    /// # Errors
    ///
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) if the old password is wrong, which counts towards a lock-out.
    pub async fn change_password(
        &self,
        old: impl AsRef<[u8]>,
        new: impl AsRef<[u8]>,
    ) -> Result<()> {
        let (old, new) = (
            SecretBytes::copy_from(old.as_ref()),
            SecretBytes::copy_from(new.as_ref()),
        );
        self.done(Request::ChangePassword { old, new }).await
    }

    // API tokens.

    /// Makes an API token: who shows it to [`Hsm::login_with`](crate::Hsm::login_with) is logged in as `principal`, who need
    /// not be a user of the partition, until it expires or is deleted. The token is shown this once.
    ///
    /// Whoever may do this can become anybody, as whoever may set passwords can.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use hsm_client::{BuiltInRole, Credentials, Hsm, Scope, Setup, Timestamp};
    ///
    /// # pollster::block_on(async {
    /// let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
    /// let admin = hsm.login("admin", "an administrator's password").await?;
    /// admin.assign_role(BuiltInRole::CryptoUser, "build-server", Scope::Keys).await?;
    ///
    /// let tomorrow = Timestamp::from(SystemTime::now() + Duration::from_secs(24 * 60 * 60));
    /// let (token, _) = admin.create_token("nightly-build", "build-server", tomorrow).await?;
    ///
    /// let server = hsm.login_with(Credentials::token(token.expose())).await?;
    /// assert_eq!(server.principal().as_str(), "build-server");
    /// server.random(32).await?;
    /// # Ok::<(), hsm_client::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if there is a token of that name, [`InvalidInput`](ErrorKind::InvalidInput) for a
    /// time that has passed, [`LimitExceeded`](ErrorKind::LimitExceeded) beyond
    /// [`TOKEN_LIFETIME_MAX`](crate::limits::TOKEN_LIFETIME_MAX) and [`TOKENS_MAX`](crate::limits::TOKENS_MAX).
    pub async fn create_token(
        &self,
        name: &str,
        principal: &str,
        expires: Timestamp,
    ) -> Result<(SecretBytes, TokenInfo)> {
        let request = Request::CreateToken {
            name: name.parse()?,
            principal: Principal::new(principal)?,
            expires,
        };
        match self.call(request).await? {
            Response::Token { token, info } => Ok((token, info)),
            other => Err(unexpected(&other)),
        }
    }

    /// Lists API tokens by name, expired ones as well, never the tokens themselves.
    ///
    /// # Errors
    ///
    /// As for every method.
    pub async fn list_tokens(&self, page: PageRequest) -> Result<Page<TokenInfo>> {
        match self.call(Request::ListTokens { page }).await? {
            Response::Tokens(tokens) => Ok(tokens),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes an API token. Sessions that it opened end.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn delete_token(&self, name: &str) -> Result<()> {
        let name = name.parse()?;
        self.done(Request::DeleteToken { name }).await
    }

    // The partition.

    /// The partition's identity and settings.
    ///
    /// # Errors
    ///
    /// As for every method.
    pub async fn settings(&self) -> Result<PartitionInfo> {
        self.partition(Request::GetSettings).await
    }

    /// Changes the partition's settings.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a retention period that is out of bounds,
    /// [`Conflict`](ErrorKind::Conflict) to switch purge protection off.
    pub async fn update_settings(&self, update: SettingsUpdate) -> Result<PartitionInfo> {
        self.partition(Request::UpdateSettings { update }).await
    }

    /// Destroys every key of the partition, for good. `confirm` repeats the partition's id.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the id is another.
    pub async fn zeroize(&self, confirm: StreamId) -> Result<()> {
        self.done(Request::Zeroize { confirm }).await
    }

    // The audit log.

    /// The audit streams: the journal first, then those of the processes that used the HSM.
    ///
    /// # Errors
    ///
    /// As for every method.
    pub async fn audit_streams(&self) -> Result<Vec<StreamId>> {
        match self.call(Request::ListAuditStreams).await? {
            Response::AuditStreams(streams) => Ok(streams),
            other => Err(unexpected(&other)),
        }
    }

    /// Up to `limit` (at most 1000) records of a stream, from number `from` on.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such stream.
    pub async fn read_audit(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Frame>> {
        match self
            .call(Request::ReadAudit {
                stream,
                from,
                limit,
            })
            .await?
        {
            Response::AuditRecords(frames) => Ok(frames),
            other => Err(unexpected(&other)),
        }
    }

    // What the typed calls share.

    pub(crate) async fn done(&self, request: Request<'_>) -> Result<()> {
        match self.call(request).await? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn key_info(&self, request: Request<'_>) -> Result<KeyInfo> {
        match self.call(request).await? {
            Response::Key(info) => Ok(*info),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn key_page(&self, request: Request<'_>) -> Result<Page<KeyInfo>> {
        match self.call(request).await? {
            Response::Keys(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn secret(&self, request: Request<'_>) -> Result<SecretBytes> {
        match self.call(request).await? {
            Response::Secret(secret) => Ok(secret),
            other => Err(unexpected(&other)),
        }
    }

    async fn role_definition(&self, request: Request<'_>) -> Result<RoleDefinition> {
        match self.call(request).await? {
            Response::RoleDefinition(definition) => Ok(*definition),
            other => Err(unexpected(&other)),
        }
    }

    async fn role_assignment(&self, request: Request<'_>) -> Result<RoleAssignment> {
        match self.call(request).await? {
            Response::RoleAssignment(assignment) => Ok(*assignment),
            other => Err(unexpected(&other)),
        }
    }

    async fn partition(&self, request: Request<'_>) -> Result<PartitionInfo> {
        match self.call(request).await? {
            Response::Partition(info) => Ok(*info),
            other => Err(unexpected(&other)),
        }
    }
}

/// The HSM answered with something that does not belong to the request: a bug of the service.
pub(crate) fn unexpected(_response: &Response) -> Error {
    Error::new(
        ErrorKind::DeviceFailed,
        "the HSM gave an answer that does not belong to the request",
    )
}

/// Parses a key's name where a typed call takes text.
pub(crate) fn parse_name(name: &str) -> Result<KeyName> {
    name.parse()
}
