//! Hold frames and dictionary together, and what is written to what other programs read.

use jarzynski::io::frame::{Rows, column_str};
use jarzynski::io::{read_metadata, write_parquet_with};
use jarzynski::model::{
    Bridge, CouplingFlow, CouplingShape, FlowNet, FlowShape, Gaussian, Interpolant, LadderShape, Mixture, NoiseLadder,
    Rbm, RbmShape,
};
use jarzynski::run::record;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::train::{Balance, BinaryMatching, DualScoreMatching, MaximumLikelihood, NoiseContrastive};
use jarzynski::{
    Ais, Escorted, FlowTrainer, Gibbs, Mala, Method, Optim, Reversed, Rng, Run, ScoreMatching, Settings, Trainer, Ula,
    transport,
};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.9 };

/// One run of every kind that the library records.
fn runs() -> Vec<Run> {
    let data = Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7]).unwrap().sample(60, &mut Rng::new(1));
    let model = || Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5]).unwrap();
    let s = Settings { walkers: 60, steps: 12, lr: 0.1, progress: 0.0, ..Default::default() };
    let train = |method| Trainer::new(Ula::new(2.5), method).settings(s.clone()).train(&mut model(), &data).unwrap();
    let mala = Trainer::new(Reversed::new(Mala::new(0.2)), JARZYNSKI).settings(s.clone());
    let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    let binary = Rng::new(5).uniform_tensor(&[50, 6], Kind::Float, Device::Cpu).round();
    let mut rbm = Rbm::bernoulli(&binary, &RbmShape { hidden: 4, ..Default::default() }).unwrap();
    let adam = Settings { optim: Optim::Adam, ..s.clone() };
    let small = data.to_kind(Kind::Float);
    let shape = FlowShape { widths: vec![8], ..Default::default() };
    let mut flow = FlowNet::from_noise(&Bridge::default(), &small, &shape).unwrap();
    let mut ladder = NoiseLadder::new(&data, 0.2, &LadderShape { widths: vec![8], ..Default::default() }).unwrap();
    let start = Gaussian::fit(&data, 0.0).unwrap();
    let mut couplings = CouplingFlow::new(&start, &CouplingShape::default(), Kind::Double, Device::Cpu).unwrap();
    let plain = Settings { trust_region: None, monitor: None, ..s.clone() };
    vec![
        Trainer::new(Gibbs::new(), Method::Ptt { rate: 0.3 }).settings(plain).train(&mut rbm, &binary).unwrap(),
        DualScoreMatching::new()
            .steps(12)
            .batch(16)
            .balance(Balance::default())
            .progress(0.0)
            .train(&mut ladder, &data)
            .unwrap(),
        train(JARZYNSKI),
        Trainer::new(Ula::new(2.5), JARZYNSKI)
            .settings(s.clone())
            .validation(&data, 4)
            .train(&mut model(), &data)
            .unwrap(),
        train(Method::Pcd),
        train(Method::Cd { k: 1 }),
        mala.train(&mut model(), &data).unwrap(),
        transport(Escorted::new(8.0), &path, 8, 100, 0).unwrap(),
        Trainer::new(Gibbs::new(), JARZYNSKI).settings(adam).train(&mut rbm, &binary).unwrap(),
        Ais::new().steps(20).walkers(50).seed(1).run(&rbm).unwrap(),
        ScoreMatching::denoising(0.3).steps(5).progress(0.0).train(&mut model(), &data).unwrap(),
        ScoreMatching::exact().steps(5).quiet().train(&mut model(), &data).unwrap(),
        NoiseContrastive::new().steps(5).quiet().train(&mut model(), &data, &model()).unwrap(),
        MaximumLikelihood::new().steps(5).quiet().train(&mut couplings, &data).unwrap(),
        BinaryMatching::pseudo_likelihood().steps(2).quiet().train(&mut rbm, &binary).unwrap(),
        BinaryMatching::ratio_matching().steps(2).quiet().train(&mut rbm, &binary).unwrap(),
        BinaryMatching::probability_flow().steps(2).quiet().train(&mut rbm, &binary).unwrap(),
        FlowTrainer::new().steps(12).batch(16).quiet().train(&mut flow, &small).unwrap(),
        Trainer::new(Ula::new(0.1), Method::Pcd).settings(s.clone()).train(&mut model(), &(&data * 100.0)).unwrap(),
    ]
}

#[test]
fn every_column_is_in_the_dictionary_and_every_entry_is_a_column() {
    let mut seen = std::collections::BTreeSet::new();
    for run in runs() {
        let names: Vec<String> = run.stats.get_column_names().iter().map(|n| n.to_string()).collect();
        for name in &names {
            assert!(record::column(name).is_some(), "{}: `{name}` is not in record::COLUMNS", run.label);
        }
        let described = run.describe().unwrap();
        assert_eq!(column_str(&described, "column").unwrap(), names);
        assert!(column_str(&described, "meaning").unwrap().iter().all(|m| !m.is_empty() && !m.contains("observer")));
        seen.extend(names);
    }
    for entry in record::COLUMNS {
        assert!(seen.contains(entry.name), "`{}` is in the dictionary and in no frame", entry.name);
    }
    let own = Rows::new(&["step", "mine"]).push((0, 1.0)).finish().unwrap();
    assert_eq!(column_str(&record::describe(&own).unwrap(), "meaning").unwrap()[1], "recorded by a callback");
}

#[test]
fn the_documentation_prints_the_dictionary() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/run/columns.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, record::markdown()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        record::markdown(),
        "UPDATE=1 cargo test --test it documentation_prints writes it"
    );
}

#[test]
fn parquet_files_carry_notes() {
    let dir = tempfile::tempdir().unwrap();
    let df = Rows::new(&["step", "ess"]).push((0, 1.0)).push((1, 0.5)).finish().unwrap();
    let path = dir.path().join("own.parquet");
    write_parquet_with(&df, &path, &[("note", "äöü \"x\"".into())]).unwrap();
    assert_eq!(read_metadata(&path).unwrap()["note"], "äöü \"x\"");
    std::fs::write(&path, b"PAR1 no").unwrap();
    assert!(read_metadata(&path).unwrap_err().to_string().contains("own.parquet"));
}

#[test]
fn arviz_gets_positions_weights_and_energies() {
    let dir = tempfile::tempdir().unwrap();
    let run = runs().into_iter().find(|run| run.label == "transport").unwrap();
    let path = dir.path().join("walkers.json");
    run.write_arviz(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let numbers =
        |v: &serde_json::Value| -> Vec<f64> { v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
    let x = json["posterior"]["x"][0].as_array().unwrap();
    assert_eq!(x.len(), 100);
    let flat: Vec<f64> = x.iter().flat_map(numbers).collect();
    let close = |a: &[f64], t: &Tensor| {
        let b = Vec::<f64>::try_from(t.to_kind(Kind::Double).contiguous().view(-1)).unwrap();
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-15 * b.abs())
    };
    assert!(close(&flat, run.walkers.x()));
    let stat = |name: &str| numbers(&json["sample_stats"][name][0]);
    assert!(close(&stat("log_weight"), run.walkers.log_weights()) && close(&stat("weight"), &run.walkers.weights()));
    assert!(close(&stat("energy"), &run.walkers.evaluation().u));
}
