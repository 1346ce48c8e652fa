//! Run one shard of a sweep: members that no other process has, those of its own share first.

use super::{Ended, Member, Plan, place, write_json};
use crate::registry::begun;
use crate::{Context, Entry};
use jarzynski::sweep::Claim;
use jarzynski::{Error, Result};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a shard did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Shard {
    /// Members that it computed, failed ones included.
    pub computed: usize,
    /// Those of them that failed.
    pub failed: usize,
    /// Members that other processes had when it ended.
    pub elsewhere: usize,
}

/// Computes members of the sweep in `dir` that have not ended and that no other process has, those numbered `shard`, `shard` + N, …
/// first, until none is left to take. Each is claimed ([`Claim`]); what a killed process began is continued from its checkpoints.
/// A line is printed as each member ends.
///
/// A member that fails is one with its cause; the others are computed. Remove its folder to compute it again.
///
/// # Errors
/// No plan; a shard that it does not have; a folder that cannot be written.
pub fn work(dir: &Path, shard: usize, stale: Duration) -> Result<Shard> {
    let plan = Plan::read(dir)?;
    if shard >= plan.shards {
        return Err(Error::param("shard", shard, format!("below {}, the number of shards planned", plan.shards)));
    }
    let entry = plan.entry()?;
    let context = Context::on(jarzynski::device(&plan.device)?);
    let all = plan.members.len();
    let order: Vec<&Member> = (0..plan.shards)
        .flat_map(|i| plan.members.iter().skip((shard + i) % plan.shards).step_by(plan.shards))
        .collect();
    let mut done = Shard::default();
    loop {
        let mut progress = false;
        done.elsewhere = 0;
        for member in &order {
            let place = place(dir, member);
            if Ended::read(&place)?.is_some() {
                continue;
            }
            let Some(claim) = Claim::take(&place, stale)? else {
                done.elsewhere += 1;
                continue;
            };
            // it may have ended between the two looks
            if Ended::read(&place)?.is_some() {
                continue;
            }
            let Some(ended) = compute(entry, &plan, member, &place, &context)? else {
                done.elsewhere += 1;
                continue;
            };
            if claim.is_lost()? {
                println!("{}: another process took it over", member.name);
                continue;
            }
            write_json(&ended, &place.join("member.json"))?;
            drop(claim);
            progress = true;
            done.computed += 1;
            done.failed += usize::from(ended.status == "failed");
            let why = ended.cause.map_or(String::new(), |c| format!(": {c}"));
            println!(
                "shard {shard}: {} of {all} members, {} {}{why}, {:.0} s",
                done.computed, member.name, ended.status, ended.seconds
            );
        }
        if !progress {
            return Ok(done);
        }
    }
}

/// `None` where another process, one that claims nothing, is writing to the same folder.
fn compute(entry: &Entry, plan: &Plan, member: &Member, place: &Path, context: &Context) -> Result<Option<Ended>> {
    let context = if begun(place).is_ok() { context.clone().resuming() } else { context.clone() };
    let started = Instant::now();
    let (status, cause) = match entry.run(&member.overrides, plan.size, place, &context) {
        Ok(_) => ("finished", None),
        Err(Error::RunLocked { .. }) => return Ok(None),
        // the disk or the network, not the member
        Err(e @ Error::Io { .. }) => return Err(e),
        Err(e) => ("failed", Some(e.to_string())),
    };
    Ok(Some(Ended { status: status.into(), cause, seconds: started.elapsed().as_secs_f64() }))
}
