//! List the commands and options of the command line: parsing, help and completions read this list.

use jarzynski::{Error, Result};
use jarzynski_experiments::{Entry, Size, registry};
use std::fmt::Write;

/// A command of the program.
pub struct Command {
    /// Its first word.
    pub name: &'static str,
    /// What follows it.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// What else there is to say; may be empty.
    pub text: &'static str,
    /// The options that it takes, by name; [`SETTINGS`] stands for those of an experiment.
    pub options: &'static [&'static str],
    /// Calls, and what each does.
    pub examples: &'static [(&'static str, &'static str)],
}

/// An option.
pub struct Flag {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// What its value is; empty where it has none.
    pub value: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// The name under which a command says that it takes the settings of an experiment as options.
pub const SETTINGS: &str = "KEY";

/// All commands.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        arguments: "NAME",
        about: "runs an experiment; tables, figures and manifest.json go to results/NAME/",
        text: "The word `run` may be left out. Every setting of the experiment is an option, with `-` or `_` between its words;\n\
               `jarzynski config NAME` lists them. A VALUE is a number, true, false, a list in brackets, or text.",
        options: &[SETTINGS, "config", "full", "small", "seed", "out", "device"],
        examples: &[
            ("jarzynski quick", "a first training, in seconds"),
            ("jarzynski mixture --walkers 1e4 --seed 7", "one setting and the seed changed"),
            ("jarzynski ula-bias --h '[.1, .2]' --out bias", "a list, and another folder"),
            ("jarzynski digits --device cuda:0", "on the first GPU"),
        ],
    },
    Command {
        name: "list",
        arguments: "[WHAT]",
        about: "names all experiments and says what each shows",
        text: "WHAT is for scripts: `names`; `figures`, those of `make figures` in its order; `data`, name and data set; `plan`, those of\n\
               `make figures` with the seconds that each is expected to take.",
        options: &[],
        examples: &[("jarzynski list", "names and what they show")],
    },
    Command {
        name: "config",
        arguments: "NAME",
        about: "prints an experiment's settings, as TOML",
        text: "The output can be edited and given back with --config.",
        options: &[SETTINGS, "config", "full", "small", "seed"],
        examples: &[
            ("jarzynski config digits > digits.toml", "settings into a file"),
            ("jarzynski config mixture --full", "those of the published size"),
        ],
    },
    Command {
        name: "resume",
        arguments: "DIR",
        about: "continues an experiment that was interrupted in that folder",
        text: "Its settings are those with which it was begun.",
        options: &["device"],
        examples: &[("jarzynski resume results/digits", "goes on from the last checkpoints")],
    },
    Command {
        name: "show",
        arguments: "DIR",
        about: "prints a kept run or a result: summary, curves, tables",
        text: "",
        options: &[],
        examples: &[("jarzynski show results/quick", "what is in that folder")],
    },
    Command {
        name: "compare",
        arguments: "DIR DIR...",
        about: "puts kept runs into one table and one figure, in --out DIR",
        text: "",
        options: &["columns", "out"],
        examples: &[("jarzynski compare runs/a runs/b --columns log_z_monitor,ess", "two runs, two columns")],
    },
    Command {
        name: "sweep",
        arguments: "plan FILE | run DIR | collect DIR",
        about: "spreads seeds and settings of an experiment over processes on a shared folder",
        text: "`plan` writes the members and scripts for Slurm and GNU parallel to --out DIR (results/NAME of NAME.toml), `run` computes\n\
               members that no other process has, `collect` puts their tables together in DIR/collected.",
        options: &[SETTINGS, "shards", "shard", "stale", "out", "device"],
        examples: &[
            ("jarzynski sweep plan rates.toml --shards 16", "then start the scripts that it names"),
            ("jarzynski sweep run results/rates --shard 3", "any number of them, anywhere"),
            ("jarzynski sweep collect results/rates", "when all have ended"),
        ],
    },
    Command {
        name: "index",
        arguments: "[DIR]",
        about: "writes index.html: all results below a folder, with figures and tables",
        text: "The folder is results/ unless it is named. `jarzynski run` writes the page anew after each experiment.",
        options: &[],
        examples: &[("jarzynski index", "then open results/index.html")],
    },
    Command {
        name: "new",
        arguments: "PATH",
        about: "makes a crate with a model, a kernel and a notebook of your own",
        text: "The crate uses the copy of the library from which this program was built, and its compiled dependencies; --library\n\
               names another copy.",
        options: &["library"],
        examples: &[("jarzynski new rings && cd rings && cargo run", "makes it, builds it, trains")],
    },
    Command {
        name: "doctor",
        arguments: "",
        about: "says what is missing on this machine, and how to mend it",
        text: "Exit code 1 where something is missing that building or running needs.",
        options: &[],
        examples: &[("jarzynski doctor", "tools, libtorch, GPU, notebooks' kernel, disk, memory")],
    },
    Command {
        name: "completions",
        arguments: "bash | zsh | fish",
        about: "prints a script that completes commands, names and settings",
        text: "`make install` puts them where the shells look for them.",
        options: &[],
        examples: &[("source <(jarzynski completions bash)", "for this shell")],
    },
    Command {
        name: "help",
        arguments: "[COMMAND | NAME]",
        about: "explains a command or an experiment, as --help does",
        text: "",
        options: &[],
        examples: &[("jarzynski help run", "what `run` takes"), ("jarzynski digits --help", "an experiment")],
    },
];

/// All options beside the settings of experiments, `--help` and `--version`.
pub const FLAGS: &[Flag] = &[
    Flag { name: SETTINGS, value: "VALUE", about: "changes one setting: --walkers 1e4, --lr .05, --h '[.1, .2]'" },
    Flag { name: "config", value: "FILE", about: "changes the settings that a TOML file names" },
    Flag { name: "full", value: "", about: "takes the published size; takes hours" },
    Flag { name: "small", value: "", about: "takes the smallest size; takes seconds" },
    Flag { name: "seed", value: "S", about: "sets the first seed" },
    Flag { name: "out", value: "DIR", about: "writes to another folder" },
    Flag { name: "device", value: "D", about: "computes on cpu (the default) or cuda:0" },
    Flag { name: "columns", value: "A,B", about: "says what is plotted" },
    Flag { name: "shards", value: "N", about: "says over how many processes a sweep is planned" },
    Flag { name: "shard", value: "I", about: "says which of them this one is, from 0" },
    Flag { name: "stale", value: "SECS", about: "takes over from a process that is silent for so long (300)" },
    Flag { name: "library", value: "DIR", about: "names the folder of the library's sources" },
];

/// The command of that name.
pub fn command(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name == name)
}

fn flags(names: &[&str]) -> String {
    let mut text = String::new();
    for flag in FLAGS.iter().filter(|f| names.contains(&f.name)) {
        let _ = writeln!(text, "  {:<15} {}", format!("--{} {}", flag.name, flag.value).trim_end(), flag.about);
    }
    text
}

fn examples(of: &[(&str, &str)]) -> String {
    let width = of.iter().map(|(call, _)| call.chars().count()).max().unwrap_or(0);
    of.iter().map(|(call, what)| format!("  {call:<width$}  {what}\n")).collect()
}

/// What the program can do: all commands.
pub fn overview() -> String {
    let mut text = String::from(
        "Runs the experiments of the library jarzynski, shows what they and your own runs left, and starts new projects.\n\n",
    );
    for c in COMMANDS {
        let _ = writeln!(text, "  {:<42} {}", format!("jarzynski {} {}", c.name, c.arguments).trim_end(), c.about);
    }
    text += "\n`jarzynski NAME` is short for `jarzynski run NAME`. Options of a run:\n";
    text += &flags(command("run").map_or(&[][..], |c| c.options));
    text += "\n`jarzynski help COMMAND` and `jarzynski help NAME` give examples and say what else there is. To begin with:\n";
    text + &examples(&[
        ("jarzynski quick", "a first training, in seconds"),
        ("jarzynski list", "all experiments"),
        ("jarzynski doctor", "whether this machine has what is needed"),
    ])
}

/// What there is to say about a command or an experiment.
///
/// # Errors
/// `Param` where there is neither of that name.
pub fn help(name: &str) -> Result<String> {
    if let Some(c) = command(name) {
        let mut text = format!("jarzynski {} {}", c.name, c.arguments).trim_end().to_string();
        let _ = writeln!(text, "\n\nIt {}.", c.about);
        if !c.text.is_empty() {
            let _ = writeln!(text, "{}", c.text);
        }
        if !c.options.is_empty() {
            let _ = write!(text, "\nOptions:\n{}", flags(c.options));
        }
        let _ = write!(text, "\nExamples:\n{}", examples(c.examples));
        return Ok(text);
    }
    let entry = registry::find(name)
        .map_err(|_| Error::param("help", name, "a command of `jarzynski help` or a name of `jarzynski list`"))?;
    experiment(entry)
}

fn experiment(entry: &Entry) -> Result<String> {
    let mut text = format!("jarzynski {} [options]\n\n{}: {}.\n", entry.name, entry.name, entry.about);
    let _ = writeln!(text, "At the default size it takes about {} on two cores.", entry.duration());
    if let Some(set) = entry.data {
        let _ = writeln!(text, "It needs the data set {set}: `make datasets` fetches it.");
    }
    let _ = write!(text, "\nOptions:\n{}", flags(command("run").map_or(&[][..], |c| c.options)));
    let config = entry.config(&toml::Table::new(), Size::Usual)?;
    let _ = write!(text, "\nSettings, with their defaults:\n{}", indented(&config));
    let seed = format!("jarzynski {} --seed 7", entry.name);
    let small = format!("jarzynski {} --small --out {}-small", entry.name, entry.name);
    Ok(text + "\nExamples:\n" + &examples(&[(&seed, "another seed"), (&small, "seconds, to see what comes out")]))
}

fn indented(text: &str) -> String {
    text.lines().map(|l| format!("  {l}").trim_end().to_string() + "\n").collect()
}
