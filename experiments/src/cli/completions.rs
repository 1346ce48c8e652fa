//! Print scripts that complete commands, experiments, options and settings in bash, zsh and fish.

use super::commands::{COMMANDS, FLAGS, SETTINGS};
use jarzynski::{Error, Result};

/// The script for a shell. Names and settings are asked of the program, so that a script stays right when they change.
///
/// # Errors
/// `Param` for another shell.
pub fn script(shell: &str) -> Result<String> {
    match shell {
        "bash" => Ok(bash()),
        // zsh runs bash's functions after this line
        "zsh" => Ok(format!("#compdef jarzynski\nautoload -U +X bashcompinit && bashcompinit\n{}", bash())),
        "fish" => Ok(fish()),
        other => Err(Error::param("shell", other, "bash, zsh or fish")),
    }
}

fn commands() -> String {
    COMMANDS.iter().map(|c| c.name).collect::<Vec<_>>().join(" ")
}

/// The options of a command, as bash's list of words.
fn options(names: &[&str]) -> String {
    names.iter().filter(|n| **n != SETTINGS).map(|n| format!("--{n} ")).collect::<String>() + "--help"
}

fn bash() -> String {
    let cases: String =
        COMMANDS.iter().map(|c| format!("    {}) options='{}' ;;\n", c.name, options(c.options))).collect();
    let run = COMMANDS.iter().find(|c| c.name == "run").map_or(String::new(), |c| options(c.options));
    BASH.replace("@COMMANDS@", &commands()).replace("@CASES@", &cases).replace("@RUN@", &run)
}

const BASH: &str = r#"# Completes the command line of jarzynski.
_jarzynski() {
  local word=${COMP_WORDS[COMP_CWORD]} first=${COMP_WORDS[1]:-} second=${COMP_WORDS[2]:-} options words name=
  case ${COMP_WORDS[COMP_CWORD-1]} in
    --out | --library) COMPREPLY=($(compgen -d -- "$word")); return ;;
    --config) COMPREPLY=($(compgen -f -- "$word")); return ;;
    --device) COMPREPLY=($(compgen -W 'cpu cuda:0' -- "$word")); return ;;
  esac
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "@COMMANDS@ $(jarzynski list names 2> /dev/null) --help --version" -- "$word"))
    return
  fi
  case $first in
@CASES@    *) options='@RUN@' name=$first ;;
  esac
  case $first in run | config) name=$second ;; esac
  if [[ $word == -* ]]; then
    # the settings of an experiment are options
    if [ -n "$name" ]; then
      options="$options $(jarzynski config "$name" 2> /dev/null | sed -n 's/^\([a-z_0-9]*\) = .*/--\1/p')"
    fi
    COMPREPLY=($(compgen -W "$options" -- "$word"))
    return
  fi
  case $first in
    run | config) words=$(jarzynski list names 2> /dev/null) ;;
    help) words="@COMMANDS@ $(jarzynski list names 2> /dev/null)" ;;
    list) words='names figures data plan' ;;
    completions) words='bash zsh fish' ;;
    show | resume | compare | index | new) COMPREPLY=($(compgen -d -- "$word")); return ;;
  esac
  COMPREPLY=($(compgen -W "${words:-}" -- "$word"))
}
complete -o filenames -F _jarzynski jarzynski
"#;

fn fish() -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut out = String::from("# Completes the command line of jarzynski.\ncomplete -c jarzynski -f\n");
    let none = "not __fish_seen_subcommand_from";
    let names = "(jarzynski list names 2> /dev/null)";
    for c in COMMANDS {
        out += &format!("complete -c jarzynski -n \"__fish_use_subcommand\" -a {} -d {}\n", c.name, quoted(c.about));
    }
    out += &format!("complete -c jarzynski -n \"__fish_use_subcommand\" -a {names:?} -d experiment\n");
    out += &format!("complete -c jarzynski -n \"__fish_seen_subcommand_from run config help\" -a {names:?}\n");
    out += "complete -c jarzynski -n \"__fish_seen_subcommand_from list\" -a 'names figures data plan'\n";
    out += "complete -c jarzynski -n \"__fish_seen_subcommand_from completions\" -a 'bash zsh fish'\n";
    out += "complete -c jarzynski -n \"__fish_seen_subcommand_from show resume compare index\" \
            -a '(__fish_complete_directories)'\n";
    for flag in FLAGS.iter().filter(|f| f.name != SETTINGS) {
        let takes: Vec<&str> = COMMANDS.iter().filter(|c| c.options.contains(&flag.name)).map(|c| c.name).collect();
        // options of `run` hold for the name of an experiment too
        let when = if takes.contains(&"run") {
            let others: Vec<&str> = COMMANDS.iter().map(|c| c.name).filter(|n| !takes.contains(n)).collect();
            format!("{none} {}", others.join(" "))
        } else {
            format!("__fish_seen_subcommand_from {}", takes.join(" "))
        };
        let value = if flag.value.is_empty() { "" } else { " -r -F" };
        out += &format!("complete -c jarzynski -n {when:?} -l {}{value} -d {}\n", flag.name, quoted(flag.about));
    }
    out + "complete -c jarzynski -l help -s h -d 'explains the command'\n"
}
