use super::Cli;
use clap::{CommandFactory, Parser, error::ErrorKind};

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn usage_errors_have_exit_code_2_and_questions_0() {
    for (arguments, kind, code) in [
        (&["flowgate"][..], ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, 2),
        (&["flowgate", "run"], ErrorKind::MissingRequiredArgument, 2),
        (&["flowgate", "walk"], ErrorKind::InvalidSubcommand, 2),
        (&["flowgate", "run", "--config"], ErrorKind::InvalidValue, 2),
        (&["flowgate", "--version"], ErrorKind::DisplayVersion, 0),
        (&["flowgate", "run", "--help"], ErrorKind::DisplayHelp, 0),
    ] {
        let error = Cli::try_parse_from(arguments).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (kind, code), "{arguments:?}");
    }
}
