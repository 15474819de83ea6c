//! `hsm key`.

mod attest;
mod backup;
mod create;
mod crypto;
mod update;

use clap::{Args, Subcommand};
use hsm_client::lifecycle::Event;
use hsm_client::{
    AttributesUpdate, ErrorKind, KeyInfo, KeyName, KeyRef, PageRequest, RotationPolicy, Session,
    limits,
};
use hsm_core::{Request, Response};

use super::Result;
use super::connect::Connect;
use super::failure::Failure;
use super::output::{Out, Place};
use super::secret;
use super::view::KeyView;

/// Makes, uses and administers keys
///
/// NAME/VERSION names one version of a key; NAME alone is the current one.
#[derive(Args, Debug)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a key inside the HSM
    Create(create::Create),
    /// Imports a key from a file: PEM, PKCS#8 DER, a JSON Web Key, or raw octets with --type
    Import(create::Import),
    /// Lists keys
    List(List),
    /// Shows a key
    Show {
        /// NAME or NAME/VERSION
        key: KeyRef,
        /// A soft-deleted key
        #[arg(long)]
        deleted: bool,
    },
    /// Lists the versions of a key, the oldest first
    Versions {
        /// The key
        name: KeyName,
    },
    /// Changes a key's validity, usages, tags or lifecycle state
    Update(update::Update),
    /// Lets suspended keys be used again
    Enable {
        /// NAME or NAME/VERSION; several are done one after the other
        #[arg(required = true)]
        keys: Vec<KeyRef>,
    },
    /// Suspends keys: they are of no use until they are enabled
    Disable {
        /// NAME or NAME/VERSION; several are done one after the other
        #[arg(required = true)]
        keys: Vec<KeyRef>,
    },
    /// Makes a new version, which becomes the current one
    Rotate {
        /// The key
        name: KeyName,
    },
    /// Shows when new versions are made by themselves, or sets it
    RotationPolicy(RotationArgs),
    /// Soft-deletes keys with all their versions
    Delete {
        /// The keys
        #[arg(required = true)]
        names: Vec<KeyName>,
    },
    /// Brings soft-deleted keys back
    Recover {
        /// The keys
        #[arg(required = true)]
        names: Vec<KeyName>,
    },
    /// Destroys soft-deleted keys for good
    Purge {
        /// The keys
        #[arg(required = true)]
        names: Vec<KeyName>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Writes a backup of a key, sealed for this partition
    Backup(backup::Backup),
    /// Brings a key back from its backup
    Restore(backup::Restore),
    /// Signs a file, or computes its authentication code
    Sign(crypto::Sign),
    /// Verifies a signature or an authentication code
    Verify(crypto::Verify),
    /// Encrypts a file
    Encrypt(crypto::Encrypt),
    /// Decrypts what `encrypt` wrote
    Decrypt(crypto::Decrypt),
    /// Wraps the bytes of a key that the caller holds
    Wrap(crypto::Wrap),
    /// Unwraps what `wrap` wrote
    Unwrap(crypto::Unwrap),
    /// Writes the public half
    Public(crypto::Public),
    /// Writes a key report: what the device states about a key, for `hsm report verify` anywhere
    Attest(attest::Attest),
}

#[derive(Args, Debug)]
struct List {
    /// Soft-deleted keys
    #[arg(long)]
    deleted: bool,

    /// At most this many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

#[derive(Args, Debug)]
struct RotationArgs {
    /// The key
    name: KeyName,

    /// Rotate so long after a version was made: an ISO 8601 period such as P90D
    #[arg(long, value_name = "PERIOD", conflicts_with_all = ["rotate_before_expiry", "file", "remove"])]
    rotate_after: Option<String>,

    /// Rotate so long before a version expires
    #[arg(long, value_name = "PERIOD", requires = "expire_after", conflicts_with_all = ["file", "remove"])]
    rotate_before_expiry: Option<String>,

    /// Let new versions expire after so long
    #[arg(long, value_name = "PERIOD", conflicts_with_all = ["file", "remove"])]
    expire_after: Option<String>,

    /// Take the policy from this file: Key Vault's JSON
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    file: Option<Place>,

    /// Make no new versions any more
    #[arg(long)]
    remove: bool,
}

impl Key {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        let connect = &self.connect;
        match self.command {
            Command::Create(create) => create.run(connect, out).await,
            Command::Import(import) => import.run(connect, out).await,
            Command::List(list) => {
                connect
                    .with(async |session| list.run(session, out).await)
                    .await
            }
            Command::Show { key, deleted } => {
                connect
                    .with(async |session| {
                        let info = match deleted {
                            true => session.deleted_key(key.name.as_str()).await?,
                            false => info(session, Request::GetKey { key }).await?,
                        };
                        out.one(&KeyView::new(&info)?)
                    })
                    .await
            }
            Command::Versions { name } => {
                connect
                    .with(async |session| {
                        let infos = pages(session, None, |page| Request::ListVersions {
                            name: name.clone(),
                            page,
                        })
                        .await?;
                        out.list(&KeyView::all(&infos)?, "versions")
                    })
                    .await
            }
            Command::Update(update) => {
                connect
                    .with(async |session| update.run(session, out).await)
                    .await
            }
            Command::Enable { keys } => switch(connect, out, keys, true).await,
            Command::Disable { keys } => switch(connect, out, keys, false).await,
            Command::Rotate { name } => {
                connect
                    .with(async |session| {
                        let progress = out.progress("making a new version", None);
                        let info = info(session, Request::RotateKey { name }).await?;
                        drop(progress);
                        out.one(&KeyView::new(&info)?)
                    })
                    .await
            }
            Command::RotationPolicy(policy) => {
                connect
                    .with(async |session| policy.run(session, out).await)
                    .await
            }
            Command::Delete { names } => {
                each(connect, out, "deleted", names, |name| Request::DeleteKey {
                    name,
                })
                .await
            }
            Command::Recover { names } => {
                each(connect, out, "recovered", names, |name| {
                    Request::RecoverKey { name }
                })
                .await
            }
            Command::Purge { names, yes } => {
                if !yes {
                    confirm_purge(&names)?;
                }
                each(connect, out, "purged", names, |name| Request::PurgeKey {
                    name,
                })
                .await
            }
            Command::Backup(backup) => backup.run(connect, out).await,
            Command::Restore(restore) => restore.run(connect, out).await,
            Command::Sign(sign) => sign.run(connect, out).await,
            Command::Verify(verify) => verify.run(connect, out).await,
            Command::Encrypt(encrypt) => encrypt.run(connect, out).await,
            Command::Decrypt(decrypt) => decrypt.run(connect, out).await,
            Command::Wrap(wrap) => wrap.run(connect, out).await,
            Command::Unwrap(unwrap) => unwrap.run(connect, out).await,
            Command::Public(public) => public.run(connect, out).await,
            Command::Attest(attest) => attest.run(connect, out).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session, out: &Out) -> Result<()> {
        let infos = pages(session, self.limit, |page| match self.deleted {
            true => Request::ListDeletedKeys { page },
            false => Request::ListKeys { page },
        })
        .await?;
        let what = match self.deleted {
            true => "deleted keys",
            false => "keys",
        };
        out.list(&KeyView::all(&infos)?, what)
    }
}

impl RotationArgs {
    async fn run(self, session: &Session, out: &Out) -> Result<()> {
        let name = self.name.clone();
        let request = match self.wanted()? {
            Some(policy) => Request::SetRotationPolicy { name, policy },
            None => Request::GetRotationPolicy { name },
        };
        match session.call(request).await? {
            // Key Vault's JSON is the form that a policy has for people as well.
            Response::RotationPolicy(policy) => out.json(&policy),
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The policy to set, or `None` to show the one that there is.
    fn wanted(self) -> Result<Option<Option<RotationPolicy>>> {
        if self.remove {
            return Ok(Some(None));
        }
        if let Some(place) = self.file {
            let json = place.read(limits::RECORD_LEN_MAX)?;
            let policy = serde_json::from_slice(json.expose()).map_err(|error| {
                Failure::usage(format!("{place} is no rotation policy: {error}"))
            })?;
            return Ok(Some(Some(policy)));
        }
        let policy = match (
            self.rotate_after,
            self.rotate_before_expiry,
            self.expire_after,
        ) {
            (Some(after), _, None) => RotationPolicy::rotate_after(&after)?,
            (Some(after), _, Some(expire)) => {
                RotationPolicy::rotate_after(&after)?.expire_after(&expire)?
            }
            (None, Some(before), Some(expire)) => {
                RotationPolicy::rotate_before_expiry(&before, &expire)?
            }
            (None, None, Some(expire)) => RotationPolicy::default().expire_after(&expire)?,
            (None, _, None) => return Ok(None),
        };
        Ok(Some(Some(policy)))
    }
}

/// Enables or disables keys.
async fn switch(connect: &Connect, out: &Out, keys: Vec<KeyRef>, enabled: bool) -> Result<()> {
    let participle = if enabled { "enabled" } else { "disabled" };
    each(connect, out, participle, keys, |key| Request::UpdateKey {
        key,
        update: AttributesUpdate::new().enabled(enabled),
    })
    .await
}

/// Does the same to several keys, and stops at the first that fails.
async fn each<K: std::fmt::Display>(
    connect: &Connect,
    out: &Out,
    participle: &str,
    keys: Vec<K>,
    request: impl Fn(K) -> Request<'static>,
) -> Result<()> {
    let views = connect
        .with(async |session| {
            let total = u64::try_from(keys.len()).unwrap_or(u64::MAX);
            let progress = out.progress(participle, (total > 1).then_some(total));
            let mut views = Vec::new();
            for key in keys {
                let name = key.to_string();
                match session.call(request(key)).await {
                    Ok(Response::Key(info)) => views.push(KeyView::new(&info)?),
                    Ok(Response::Done) => {}
                    Ok(other) => return Err(unexpected(&other)),
                    Err(error) => {
                        let done = views.len();
                        let failure = Failure::from(error);
                        return Err(match total {
                            1 => failure,
                            _ => failure.hint(format!(
                                "{done} were {participle}; `{name}` and those after it were not"
                            )),
                        });
                    }
                }
                progress.step();
            }
            Ok(views)
        })
        .await?;
    match views.is_empty() {
        true => {
            out.note(participle);
            Ok(())
        }
        false => out.list(&views, "keys"),
    }
}

fn confirm_purge(names: &[KeyName]) -> Result<()> {
    let names: Vec<_> = names.iter().map(KeyName::as_str).collect();
    let names = names.join(" ");
    let question = format!("This destroys {names} for good. Write `purge` to go on");
    match secret::ask_openly(&question) {
        Some(answer) if answer.trim() == "purge" => Ok(()),
        Some(_) => Err(Failure::usage("nothing was purged")),
        None => Err(
            Failure::usage("a purge cannot be undone, and there is no terminal to ask at")
                .hint("add --yes"),
        ),
    }
}

/// All pages of a listing, or as many items as wanted.
async fn pages(
    session: &Session,
    most: Option<usize>,
    request: impl Fn(PageRequest) -> Request<'static>,
) -> Result<Vec<KeyInfo>> {
    let most = most.unwrap_or(usize::MAX);
    let mut infos = Vec::new();
    let mut after = None;
    while infos.len() < most {
        let limit = Some(limits::PAGE_LEN_MAX.min(most - infos.len()));
        let page = match session.call(request(PageRequest { after, limit })).await? {
            Response::Keys(page) => page,
            other => return Err(unexpected(&other)),
        };
        infos.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(infos)
}

/// A request that is answered with a key.
async fn info(session: &Session, request: Request<'_>) -> Result<KeyInfo> {
    match session.call(request).await? {
        Response::Key(info) => Ok(*info),
        other => Err(unexpected(&other)),
    }
}

/// The HSM answered with something that does not belong to the request.
pub(crate) fn unexpected(_response: &Response) -> Failure {
    hsm_client::Error::new(
        ErrorKind::DeviceFailed,
        "the HSM gave an answer that does not belong to the request",
    )
    .into()
}

/// The steps of the lifecycle, as `--event` takes them.
fn parse_event(text: &str) -> Result<Event, String> {
    let name = |event: Event| format!("{event:?}").to_lowercase();
    Event::ALL
        .into_iter()
        .find(|event| name(*event) == text)
        .ok_or_else(|| {
            let names = Event::ALL.map(name);
            format!("there is no such step, but: {}", names.join(", "))
        })
}
