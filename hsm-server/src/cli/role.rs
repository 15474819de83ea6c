//! `hsm role`.

use clap::{Args, Subcommand};
use hsm_client::{
    ActionSet, BuiltInRole, DataAction, ErrorKind, RoleDefinition, RoleId, Scope, Session,
};

use super::Result;
use super::connect::Connect;
use super::failure::Failure;
use super::output::Out;
use super::view::{AssignmentView, RoleView};

/// Defines and assigns roles
#[derive(Args, Debug)]
pub(crate) struct Role {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists role definitions, or shows one
    List {
        /// Show this role with all its actions: its name or id
        role: Option<String>,
    },
    /// Creates a custom role, or replaces one
    Define(Define),
    /// Deletes a custom role that nobody has
    Delete {
        /// Its name or id
        role: String,
    },
    /// Gives a role to a principal
    Assign(Assign),
    /// Takes a role away
    Unassign {
        /// The assignment's id, as `hsm role assignments` shows it
        id: RoleId,
    },
    /// Lists role assignments
    Assignments {
        /// Those at this scope: `/`, `/keys` or `/keys/NAME`
        #[arg(long)]
        scope: Option<Scope>,
    },
}

#[derive(Args, Debug)]
struct Define {
    /// The role's name; one that exists is replaced
    name: String,

    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,

    /// A data action that it allows; may be given several times. The end of the name is enough: `keys/sign/action`
    #[arg(long = "action", required = true, value_name = "ACTION", value_parser = parse_action)]
    actions: Vec<DataAction>,

    /// The role's id, a UUID; a random one if not given
    #[arg(long)]
    id: Option<RoleId>,
}

#[derive(Args, Debug)]
struct Assign {
    /// The role: its name (`Crypto User`, `crypto-user`) or id
    role: String,

    /// Who gets it
    principal: String,

    /// Where it holds: `/`, `/keys` or `/keys/NAME`
    #[arg(long, default_value_t = Scope::Keys)]
    scope: Scope,
}

impl Role {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        let command = self.command;
        self.connect
            .with(async |session| match command {
                Command::List { role: None } => {
                    let roles = session.role_definitions().await?;
                    let views: Vec<_> = roles.iter().map(RoleView::new).collect();
                    out.list(&views, "roles")
                }
                Command::List { role: Some(role) } => {
                    out.one(&RoleView::new(&find_role(session, &role).await?))
                }
                Command::Define(define) => define.run(session, out).await,
                Command::Delete { role } => {
                    let role = find_role(session, &role).await?;
                    session.delete_role(role.id).await?;
                    out.note(&format!("role {} is deleted", role.name));
                    Ok(())
                }
                Command::Assign(assign) => {
                    let role = find_role(session, &assign.role).await?;
                    let assignment = session
                        .assign_role(role.id, &assign.principal, assign.scope)
                        .await?;
                    out.one(&AssignmentView::new(&assignment, &[role]))
                }
                Command::Unassign { id } => {
                    session.unassign_role(id).await?;
                    out.note(&format!("assignment {id} is deleted"));
                    Ok(())
                }
                Command::Assignments { scope } => {
                    let assignments = session.role_assignments(scope).await?;
                    let roles = session.role_definitions().await?;
                    let views: Vec<_> = assignments
                        .iter()
                        .map(|assignment| AssignmentView::new(assignment, &roles))
                        .collect();
                    out.list(&views, "role assignments")
                }
            })
            .await
    }
}

impl Define {
    async fn run(self, session: &Session, out: &Out) -> Result<()> {
        let roles = session.role_definitions().await?;
        let same = roles.iter().find(|role| role.name == self.name);
        let id = match (self.id, same) {
            (Some(id), _) => id,
            (None, Some(role)) => role.id,
            (None, None) => {
                let random = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
                let (high, low) =
                    random.map_err(|_| Failure::usage("the system has no random numbers"))?;
                let bits = u128::from(high) << 64 | u128::from(low);
                RoleId::from_random(bits.to_be_bytes())
            }
        };
        let actions: ActionSet = self.actions.into_iter().collect();
        session
            .define_role(id, &self.name, &self.description, actions)
            .await?;
        let role = RoleDefinition::new(id, self.name, self.description, actions)?;
        out.one(&RoleView::new(&role))
    }
}

/// Finds a role by its id or name: with or without `Managed HSM `, in any case, with dashes for spaces.
pub(crate) async fn find_role(session: &Session, text: &str) -> Result<RoleDefinition> {
    let id = text.parse::<RoleId>().ok();
    let built_in = BuiltInRole::ALL.iter().copied();
    if let Some(role) = built_in
        .into_iter()
        .find(|role| id == Some(role.id()) || is_name(text, role.name()))
    {
        // Whoever may not list roles may still be allowed to name one.
        return Ok(role.into());
    }
    let roles = session.role_definitions().await?;
    roles
        .into_iter()
        .find(|role| Some(role.id) == id || is_name(text, &role.name))
        .ok_or_else(|| {
            let error =
                hsm_client::Error::new(ErrorKind::NotFound, format!("there is no role `{text}`"));
            Failure::from(error).hint("`hsm role list` shows which there are")
        })
}

fn is_name(text: &str, name: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('-', " ");
    let (text, name) = (plain(text), plain(name));
    text == name || name.strip_prefix("managed hsm ") == Some(&text)
}

fn parse_action(text: &str) -> Result<DataAction, String> {
    let ending = format!("/{text}");
    let mut found = DataAction::all()
        .filter(|action| action.name() == text || action.name().ends_with(&ending));
    match (found.next(), found.next()) {
        (Some(action), None) => Ok(action),
        (Some(_), Some(_)) => Err("more than one data action ends so".to_owned()),
        (None, _) => {
            let names: Vec<_> = DataAction::all().map(DataAction::name).collect();
            Err(format!(
                "there is no such data action, but: {}",
                names.join(" ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_found_as_people_write_them() {
        for text in [
            "Managed HSM Crypto User",
            "crypto user",
            "crypto-user",
            "Crypto-User",
        ] {
            assert!(is_name(text, "Managed HSM Crypto User"), "{text}");
        }
        assert!(!is_name("user", "Managed HSM Crypto User"));
    }

    #[test]
    fn actions_are_found_by_their_end() {
        assert_eq!(parse_action("keys/sign/action"), Ok(DataAction::KeySign));
        assert_eq!(
            parse_action(DataAction::KeySign.name()),
            Ok(DataAction::KeySign)
        );
        assert!(parse_action("action").is_err());
        assert!(parse_action("keys/fly/action").is_err());
    }
}
