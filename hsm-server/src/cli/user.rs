//! `hsm user`.

use clap::{Args, Subcommand};
use hsm_client::{PageRequest, Scope, UserInfo, UserUpdate, limits};

use super::connect::Connect;
use super::output::{Out, Place};
use super::role::find_role;
use super::view::UserView;
use super::{Result, secret};

/// Administers users
#[derive(Args, Debug)]
pub(crate) struct User {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a user
    Create(Create),
    /// Lists users
    List,
    /// Keeps a user out; open sessions end
    Disable {
        /// The user
        name: String,
    },
    /// Lets a user in again
    Enable {
        /// The user
        name: String,
    },
    /// Lifts a lock-out after wrong passwords
    Unlock {
        /// The user
        name: String,
    },
    /// Sets a new password: one's own, or as an administrator that of another
    Password(Password),
    /// Deletes a user, who loses all roles
    Delete {
        /// The user
        name: String,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// The user
    name: String,

    /// The file that holds the new user's password, `-` for standard input; else a prompt asks
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<Place>,

    /// Give the user this role as well: its name or id
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,

    /// Where the role holds: `/`, `/keys` or `/keys/NAME`
    #[arg(long, value_name = "SCOPE", default_value_t = Scope::Keys, requires = "role")]
    scope: Scope,
}

#[derive(Args, Debug)]
struct Password {
    /// The user; without one, who asks
    name: Option<String>,

    /// The file that holds the new password, `-` for standard input; else a prompt asks
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<Place>,

    /// For one's own: the file that holds the old password; else a prompt asks
    #[arg(long, value_name = "FILE")]
    old_password_file: Option<Place>,
}

impl User {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        let connect = &self.connect;
        match self.command {
            Command::Create(create) => create.run(connect, out).await,
            Command::List => {
                connect
                    .with(async |session| {
                        let mut users: Vec<UserInfo> = Vec::new();
                        let mut after = None;
                        loop {
                            let limit = Some(limits::PAGE_LEN_MAX);
                            let page = session.list_users(PageRequest { after, limit }).await?;
                            users.extend(page.items);
                            after = page.next;
                            if after.is_none() {
                                break;
                            }
                        }
                        let views: Vec<_> = users.iter().map(UserView::new).collect();
                        out.list(&views, "users")
                    })
                    .await
            }
            Command::Disable { name } => {
                update(connect, out, &name, UserUpdate::Disable, "disabled").await
            }
            Command::Enable { name } => {
                update(connect, out, &name, UserUpdate::Enable, "enabled").await
            }
            Command::Unlock { name } => {
                update(connect, out, &name, UserUpdate::Unlock, "unlocked").await
            }
            Command::Password(password) => password.run(connect, out).await,
            Command::Delete { name } => {
                connect
                    .with(async |session| Ok(session.delete_user(&name).await?))
                    .await?;
                out.note(&format!("user {name} is deleted"));
                Ok(())
            }
        }
    }
}

async fn update(
    connect: &Connect,
    out: &Out,
    name: &str,
    update: UserUpdate,
    participle: &str,
) -> Result<()> {
    connect
        .with(async |session| Ok(session.update_user(name, update).await?))
        .await?;
    out.note(&format!("user {name} is {participle}"));
    Ok(())
}

impl Create {
    async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        let name = &self.name;
        let password = secret::new_from_place_or_prompt(
            self.new_password_file.as_ref(),
            "--new-password-file",
            &format!("New password of {name}"),
        )?;
        connect
            .with(async |session| {
                let role = match &self.role {
                    Some(role) => Some(find_role(session, role).await?),
                    None => None,
                };
                session.create_user(name, password.expose()).await?;
                if let Some(role) = role {
                    session.assign_role(role.id, name, self.scope).await?;
                }
                Ok(())
            })
            .await?;
        out.note(&format!("user {name} is created"));
        if self.role.is_none() {
            out.note(&format!(
                "without a role it may do nothing: hsm role assign 'Crypto User' {name}"
            ));
        }
        Ok(())
    }
}

impl Password {
    async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        let new = secret::new_from_place_or_prompt(
            self.new_password_file.as_ref(),
            "--new-password-file",
            "New password",
        )?;
        connect
            .with(async |session| {
                match &self.name {
                    Some(name) if name != session.principal().as_str() => {
                        let update = UserUpdate::Password(new);
                        session.update_user(name, update).await?;
                    }
                    _ => {
                        let old = secret::from_place_or_prompt(
                            self.old_password_file.as_ref(),
                            "--old-password-file",
                            "Old password",
                        )?;
                        session.change_password(old.expose(), new.expose()).await?;
                    }
                }
                Ok(())
            })
            .await?;
        out.note("the password is changed; open sessions of the user have ended");
        Ok(())
    }
}
