//! Check tempering over temperatures and straight lines: log Z and its error, pair by pair and in all.

use crate::bracket::{machine, z};
use crate::common::{FAR, z_of};
use jarzynski::Tempering;
use jarzynski::density::{Bipartite, Layers};
use jarzynski::io::frame::column_f64;
use jarzynski::model::exact_log_z;

#[test]
fn tempering_knows_its_own_error() {
    let rbm = machine(8, 5, 1.2, 9);
    let exact = rbm.exact_log_z().unwrap();
    type Make = fn() -> Tempering;
    let makes: [(&str, Make); 3] = [
        ("betas", || Tempering::new().replicas(6).chains(60)),
        ("straight", || Tempering::new().straight(5).chains(60)),
        ("blocks of few chains", || Tempering::new().replicas(6).chains(4).rounds(1_200)),
    ];
    for (name, make) in makes {
        let square: f64 = (0..30)
            .map(|seed| {
                let tempering = make().seed(seed);
                let rounds = if tempering.rounds == 1_000 { 120 } else { tempering.rounds };
                let found = tempering.rounds(rounds).run(&rbm).unwrap();
                assert!(found.round_trips > 1.0, "{name}");
                z(found.log_z, exact).powi(2)
            })
            .sum();
        assert!((square - 30.0).abs() < FAR * 60f64.sqrt(), "{name}: Σ z² of 30 is {square}");
    }
    // each pair's log-ratio
    let found = Tempering::new().replicas(5).chains(400).rounds(100).run(&rbm).unwrap();
    let read = |name: &str| column_f64(&found.swaps, name).unwrap();
    let (place, next, ratio, se) = (read("place"), read("next"), read("log_ratio"), read("log_ratio_se"));
    for i in 0..4 {
        let log_z = |beta: f64| exact_log_z(&rbm.layers().tempered(beta)).unwrap();
        let z = z_of(&(ratio[i], se[i]), log_z(next[i]) - log_z(place[i]));
        assert!(z.abs() < FAR, "{i}: {z}");
    }
    // Twin: the log Z of the machine at β = .9.
    assert!(z(found.log_z, exact_log_z(&rbm.layers().tempered(0.9)).unwrap()).abs() > FAR);
    let e = Tempering::new().through(vec![machine(8, 4, 1.0, 1).units()]).run(&rbm).unwrap_err().to_string();
    assert!(e.contains("saved parameters"), "{e}");
    assert!(Tempering::new().straight(1).run(&rbm).unwrap_err().to_string().contains("replicas = 1"));
}
