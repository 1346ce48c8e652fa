//! Hold runs over ranks to one another, bit for bit, and to closed forms: ranks as threads, and as processes of MPI.

use jarzynski::model::{Interpolant, Rbm, RbmShape};
use jarzynski::numeric::Threads;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::transport::OverRanks;
use jarzynski::{Ais, Escorted, Estimate, Mala, Path, Result, Reversed, Rng, Run, Transport, World};

/// What `f` returns on each of `n` ranks.
fn on_ranks<T: Send>(n: usize, f: impl Fn(&World) -> T + Sync) -> Vec<T> {
    let _threads = Threads::request(2);
    std::thread::scope(|scope| {
        let ranks: Vec<_> = World::in_process(n).into_iter().map(|world| scope.spawn(|| f(&{ world }))).collect();
        ranks.into_iter().map(|r| r.join().unwrap()).collect()
    })
}

/// Every number of a run but its seconds, as bits.
fn bits(run: &Run) -> Vec<u64> {
    assert!(run.finished(), "{}", run.summary());
    let names: Vec<String> = run.stats.get_column_names().iter().map(|n| n.to_string()).collect();
    let kept = names.iter().filter(|n| *n != "seconds");
    let mut all: Vec<f64> = kept.flat_map(|n| run.column(n).unwrap()).collect();
    for t in [run.walkers.x(), run.walkers.log_weights(), &run.walkers.evaluation().u] {
        all.extend(Vec::<f64>::try_from(t.to_kind(Kind::Double).contiguous().view(-1)).unwrap());
    }
    let z = run.walkers.log_z();
    all.extend([z.value, z.se, run.walkers.ess()]);
    all.iter().map(|v| v.to_bits()).collect()
}

fn path() -> Interpolant {
    Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap()
}

/// Neither the walkers nor their blocks are the same number on all ranks.
const WALKERS: usize = 1_003;

fn escorted(world: &World, seed: u64) -> Result<Run> {
    Transport::new(Escorted::new(0.5), 16, WALKERS, seed).over(world).quiet().run(&path())
}

/// Resampled often, with what a rejection does to gradients.
fn resampled(world: &World, seed: u64) -> Result<Run> {
    let over = OverRanks::from(world).blocks(7);
    Transport::new(Reversed::new(Mala::new(0.05)), 30, WALKERS, seed).over(over).ess_min(0.9).quiet().run(&path())
}

fn rbm() -> Rbm {
    let data = Rng::new(1).uniform_tensor(&[200, 12], Kind::Float, Device::Cpu).round();
    Rbm::bernoulli(&data, &RbmShape { hidden: 8, scale: 0.5, ..Default::default() }).unwrap()
}

fn ais(world: &World) -> Result<Run> {
    Ais::new().steps(60).walkers(WALKERS).over(world).quiet().run(&rbm())
}

const RUNS: [fn(&World) -> Result<Run>; 3] = [|w| escorted(w, 3), |w| resampled(w, 3), ais];

#[test]
fn any_number_of_ranks_gives_the_same_bits() {
    for (i, run) in RUNS.into_iter().enumerate() {
        let one = on_ranks(1, |world| bits(&run(world).unwrap())).remove(0);
        for n in [2, 3, 4, 7] {
            for (rank, other) in on_ranks(n, |world| bits(&run(world).unwrap())).into_iter().enumerate() {
                assert!(one == other, "run {i}: rank {rank} of {n} differs from a single rank");
            }
        }
        let _threads = Threads::request(2);
        assert_eq!(one, bits(&run(&World::alone()).unwrap()));
        assert_ne!(one, on_ranks(1, |world| bits(&resampled(world, 4).unwrap())).remove(0));
    }
}

fn z_score(e: Estimate, exact: f64) -> f64 {
    (e.value - exact) / e.se
}

#[test]
fn runs_over_ranks_are_exact() {
    // log Z and the mean of x of the path's end are known
    let run = on_ranks(3, |world| {
        escorted(world, 5).map(|r| (r.walkers.log_z(), r.walkers.mean(&r.walkers.x().select(1, 0))))
    });
    let (z, mean) = run.into_iter().next().unwrap().unwrap();
    assert!(z_score(z, 0.0).abs() < 5.0, "{z}");
    assert!(z_score(mean.unwrap(), 0.3 * -2.0 + 0.7 * 2.0).abs() < 5.0);
    let exact = rbm().exact_log_z().unwrap();
    let z = on_ranks(2, |world| ais(world).unwrap().log_z().unwrap()).remove(0);
    assert!(z_score(z, exact).abs() < 5.0 && z.se < 0.1, "{z}, exactly {exact}");
    // the same estimate of a path that ends elsewhere is noticed
    assert!(z_score(z, exact + 1.0).abs() > 5.0);
    // seeds of resampled runs: their mean is right, and their spread is what the error bars say
    let found: Vec<Estimate> =
        (0..12).map(|seed| on_ranks(2, |w| resampled(w, seed).unwrap().walkers.log_z()).remove(0)).collect();
    let values: Vec<f64> = found.iter().map(|e| e.value).collect();
    let (mean, se) = jarzynski::io::frame::mean_se(&values);
    assert!((mean / se).abs() < 5.0, "{mean} ± {se}");
    let run =
        on_ranks(2, |w| resampled(w, 0).map(|r| (r.walkers.resamplings(), r.walkers.lineages()))).remove(0).unwrap();
    assert!(run.0 > 2 && run.1 < WALKERS / 2, "{run:?}");
}

#[test]
fn energies_of_moved_walkers_are_those_of_their_positions() {
    let run = on_ranks(4, |world| {
        let run = resampled(world, 1).unwrap();
        let again = path().energy(1.0, run.walkers.x()).to_kind(Kind::Double);
        let told = run.walkers.evaluation().u.to_kind(Kind::Double);
        ((again - told).abs().max().double_value(&[]), run.walkers.resamplings())
    });
    assert!(run.iter().all(|(gap, resamplings)| *gap < 1e-10 && *resamplings > 2), "{run:?}");
}

#[test]
fn what_ranks_cannot_do_is_refused_on_all_of_them() {
    let refused = |n: usize, f: &(dyn Fn(&World) -> Result<Run> + Sync), words: &str| {
        for e in on_ranks(n, |world| f(world).unwrap_err().to_string()) {
            assert!(e.contains(words), "{words}: {e}");
        }
    };
    let of = |world: &World, walkers| Transport::new(Escorted::new(0.5), 4, walkers, 0).over(world).quiet();
    refused(3, &|w| of(w, 20).run(&path()), "walkers = 20: expected at least 24, the number of blocks");
    refused(3, &|w| of(w, 200).over(OverRanks::from(w).blocks(2)).run(&path()), "blocks = 2: expected at least 3");
    refused(2, &|w| of(w, 200).plain().run(&path()), "weighted");
    let tmp = tempfile::tempdir().unwrap();
    refused(2, &|w| of(w, 200).resume_or_start(tmp.path()).run(&path()), "checkpointing");
    refused(2, &|w| of(w, 200).reverse(&path(), &Tensor::zeros([5, 2], (Kind::Double, Device::Cpu))), "one process");
    // an energy that panics for the walkers of one rank ends the run on all
    struct Narrow(Interpolant);
    impl Path for Narrow {
        fn base(&self) -> &dyn jarzynski::Base {
            self.0.base()
        }
        fn energy(&self, t: f64, x: &Tensor) -> Tensor {
            self.0.energy(t, x)
        }
        fn evaluate(&self, t: f64, x: &Tensor) -> jarzynski::Evaluation {
            let far = x.abs().max().double_value(&[]);
            assert!(t < 0.5 || far < 3.3, "too far");
            self.0.evaluate(t, x)
        }
    }
    impl jarzynski::Differentiable for Narrow {}
    let runs = on_ranks(3, |w| {
        let of = Transport::new(Reversed::new(Mala::new(0.05)), 30, 100, 1).over(w).quiet();
        of.run(&Narrow(path())).map(|run| (run.finished(), format!("{:?}", run.outcome)))
    });
    let runs: Vec<_> = runs.into_iter().map(|r| r.unwrap()).collect();
    assert!(runs.iter().all(|r| *r == runs[0] && !r.0 && r.1.contains("too far")), "{runs:?}");
}

#[cfg(feature = "mpi")]
mod mpi {
    use super::{RUNS, bits};
    use jarzynski::World;
    use jarzynski::numeric::Threads;
    use std::process::Command;

    /// A number for all bits of all runs.
    fn digest(bits: &[Vec<u64>]) -> u64 {
        let all = bits.iter().flatten();
        all.fold(0xcbf2_9ce4_8422_2325, |h, v| (h ^ v).wrapping_mul(0x0000_0100_0000_01b3))
    }

    fn all(world: &World) -> Vec<Vec<u64>> {
        let _threads = Threads::request(2);
        RUNS.iter().map(|run| bits(&run(world).unwrap())).collect()
    }

    /// Not a test of its own: what mpirun starts.
    #[test]
    fn one_rank() {
        let Ok(what) = std::env::var("JARZYNSKI_RANK") else { return };
        let world = World::from_env().unwrap();
        if what == "dies" && world.rank() == 1 {
            std::process::abort();
        }
        // longer than one call of MPI moves is not tested: 1 GiB
        let long: Vec<f64> = vec![world.rank() as f64; 100_000 * (1 + world.rank())];
        let gathered = world.gather(&long).unwrap();
        assert!((0..world.size()).all(|r| gathered[r] == vec![r as f64; 100_000 * (1 + r)]));
        println!("rank {} of {} has {:016x}", world.rank(), world.size(), digest(&all(&world)));
    }

    fn mpirun(n: &str, what: &str) -> Option<std::process::Output> {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new("mpirun");
        command.args(["--oversubscribe", "-n", n]).arg(program);
        command.args(["--exact", "ranks::mpi::one_rank", "--nocapture", "--test-threads", "1"]);
        command
            .env("JARZYNSKI_RANK", what)
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command.output().ok()
    }

    #[test]
    fn processes_of_mpi_give_the_bits_of_one() {
        let expected = digest(&all(&World::alone()));
        for n in ["1", "2", "3"] {
            let Some(out) = mpirun(n, "all") else {
                println!("skipped: mpirun is not installed");
                return;
            };
            let text = String::from_utf8_lossy(&out.stdout);
            assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
            for rank in 0..n.parse().unwrap() {
                let line = format!("rank {rank} of {n} has {expected:016x}");
                assert!(text.contains(&line), "{line}: {text}");
            }
        }
    }

    #[test]
    fn a_rank_that_dies_ends_the_others() {
        let Some(out) = mpirun("3", "dies") else {
            println!("skipped: mpirun is not installed");
            return;
        };
        assert!(!out.status.success() && !String::from_utf8_lossy(&out.stdout).contains(" has "));
    }
}
