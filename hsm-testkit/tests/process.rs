//! Promise: a test and a role of it talk in lines, and what a role reported before it was killed is not lost.

use hsm_testkit::process::{self, Child};

#[test]
fn a_role_gets_its_arguments_and_answers() {
    let mut child = Child::start("echo", &["one", "two words", ""]);
    assert_eq!(child.report().unwrap(), r#"["one", "two words", ""]"#);
    assert_eq!(child.ask("first"), "first");
    assert_eq!(child.ask("second"), "second");
    child.tell("end");
    assert_eq!(child.report(), None);
}

#[test]
fn reports_outlive_a_kill() {
    let mut child = Child::start("count", &[]);
    assert_eq!(child.report().unwrap(), "0");
    let rest = child.kill();
    let counted: Vec<_> = (1..=rest.len()).map(|number| number.to_string()).collect();
    assert_eq!(rest, counted);
}

#[test]
fn a_command_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let mut child = Child::start_with("where_am_i", &[], |command| command.current_dir(&folder));
    assert_eq!(child.report().unwrap(), folder.to_str().unwrap());
}

#[test]
#[ignore = "a role"]
fn echo() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    process::report(format!("{arguments:?}"));
    loop {
        match process::told().as_str() {
            "end" => return,
            line => process::report(line),
        }
    }
}

#[test]
#[ignore = "a role for the process that is killed"]
fn count() {
    if process::arguments().is_some() {
        for number in 0.. {
            process::report(number);
        }
    }
}

#[test]
#[ignore = "a role"]
fn where_am_i() {
    if process::arguments().is_some() {
        process::report(std::env::current_dir().unwrap().display());
    }
}
