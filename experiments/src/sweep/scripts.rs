//! Write what starts the shards of a sweep: a Slurm job array, and a line for GNU parallel.

use super::Plan;
use std::path::Path;

/// A text as one word of a shell's line.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The program with the libraries that this process found.
fn program(program: &Path) -> String {
    let program = quoted(&program.display().to_string());
    match std::env::var("LD_LIBRARY_PATH") {
        Ok(path) if !path.is_empty() => format!("env LD_LIBRARY_PATH={} {program}", quoted(&path)),
        _ => program,
    }
}

/// A script for `sbatch`: one task of a job array for each shard. `jarzynski` is the program's path; time, memory and partition are
/// for the user to add.
pub fn slurm(plan: &Plan, dir: &Path, jarzynski: &Path) -> String {
    let (last, folder) = (plan.shards - 1, dir.display().to_string());
    let log = dir.join("shard-%a.log").display().to_string();
    format!(
        "#!/bin/bash\n\
         #SBATCH --job-name=jarzynski-{}\n\
         #SBATCH --array=0-{last}\n\
         #SBATCH --ntasks=1\n\
         #SBATCH --cpus-per-task=2\n\
         #SBATCH --requeue\n\
         #SBATCH --open-mode=append\n\
         #SBATCH --output=\"{log}\"\n\
         # add --time, --mem, --partition and --account as your cluster wants them; submit it again to go on after a time limit\n\
         exec {} sweep run {} --shard \"$SLURM_ARRAY_TASK_ID\"\n",
        plan.experiment,
        program(jarzynski),
        quoted(&folder),
    )
}

/// A line that runs all shards by GNU parallel, as many at once as there are cores for two threads each; `--sshlogin` spreads them
/// over machines that see the folder.
pub fn parallel(plan: &Plan, dir: &Path, jarzynski: &Path) -> String {
    let command = format!("{} sweep run {} --shard {{}}", program(jarzynski), quoted(&dir.display().to_string()));
    format!("parallel --jobs 50% {} ::: {{0..{}}}\n", quoted(&command), plan.shards - 1)
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["/a/b-c.d", "a folder", "it's", "$HOME `x` \"y\" \\z", "", "a*b?"] {
            let out =
                std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(text))]).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), text);
        }
    }
}
