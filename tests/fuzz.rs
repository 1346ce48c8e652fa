//! Feed every reader damaged, forged and lying files: each answers with a value or an error, in bounded time and memory.

#[path = "fuzz/harness.rs"]
mod harness;

use std::fs;
use std::io::{Read, Write};
use std::panic::catch_unwind;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use jarzynski::data::{CsvOptions, Dataset, Missing, ParquetOptions, read_csv, read_idx, read_idx_pair, read_parquet};
use jarzynski::io::frame::Rows;
use jarzynski::model::Mixture;
use jarzynski::polars::prelude::{IntoColumn, NamedFrom, ParquetCompression, ParquetWriter, Series};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Checkpointing, Error, Method, Outcome, Result, Rng, Run, Settings, Trainer, Ula};
use serde_json::Value;
use sha2::{Digest, Sha256};

use harness::{alone, below, inputs, most_resident, pick, probe, put};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A gzipped file of `head` and then `part` again and again, so many MB of it.
fn bomb(head: &[u8], part: &[u8], size: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(4));
    encoder.write_all(head).unwrap();
    let parts = part.repeat((1 << 20) / part.len());
    (0..size).for_each(|_| encoder.write_all(&parts).unwrap());
    encoder.finish().unwrap()
}

/// Overwrites in place: cutting a file to nothing first makes some file systems wait for the disk.
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.size() == b.size() && a.equal(b)
}

/// What a data set promises.
fn hold_promises(data: &Dataset, range: Option<(f64, f64)>) {
    assert!(!data.is_empty() && data.dim() > 0);
    assert_eq!(data.shape.iter().product::<i64>(), data.dim() as i64);
    assert!(data.x.isfinite().all().int64_value(&[]) == 1);
    if let Some((lo, hi)) = range {
        assert!(data.x.min().double_value(&[]) >= lo && data.x.max().double_value(&[]) <= hi);
    }
    assert!(data.labels.as_ref().is_none_or(|l| l.len() == data.len()));
}

fn idx(kind: u8, sizes: &[u32], content: &[u8]) -> Vec<u8> {
    let sizes = sizes.iter().flat_map(|s| s.to_be_bytes());
    [0, 0, kind, (sizes.clone().count() / 4) as u8].into_iter().chain(sizes).chain(content.iter().copied()).collect()
}

#[test]
fn idx_files() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let (path, labels) = (dir.path().join("images"), dir.path().join("labels"));
    let (pixels, classes): (Vec<u8>, Vec<u8>) = ((0..60).collect(), vec![3, 1, 4, 1, 5]);
    let (images, names) = (idx(8, &[5, 3, 4], &pixels), idx(8, &[5], &classes));
    put(&path, &images);
    let whole = read_idx(&path).unwrap();
    let mut count = 0;
    let mut check = |bytes: &[u8]| {
        put(&path, bytes);
        count += 1;
        let data = probe("read_idx", bytes, bytes.len(), || read_idx(&path));
        if let Some(data) = &data {
            hold_promises(data, data.range);
            assert!(data.x.numel() < 1040 * bytes.len());
        }
        data
    };
    for bytes in inputs(1, &images, 4_000, 1_000) {
        check(&bytes);
    }
    let zipped = gzip(&images);
    for bytes in inputs(2, &zipped, 4_000, 1_000) {
        // what passes a checksum is what was written
        if let Some(data) = check(&bytes) {
            assert!(same(&data.x, &whole.x));
        }
    }
    let lies = [0, 1, 5, 60, 255, 65_536, i32::MAX as u32, 1 << 31, u32::MAX];
    for a in lies {
        for b in lies {
            for sizes in [vec![a, b], vec![a, b, 1], vec![1, a, b], vec![a, b, u32::MAX, u32::MAX]] {
                let fits = sizes.iter().map(|s| *s as u128).product::<u128>() == 60;
                for kind in [0, 8, 0x0d, 0xff] {
                    let bytes = idx(kind, &sizes, &pixels);
                    assert_eq!(check(&bytes).is_some(), fits && kind == 8, "{kind} {sizes:?}");
                    assert_eq!(check(&gzip(&bytes)).is_some(), fits && kind == 8, "{kind} {sizes:?}");
                }
            }
        }
    }
    assert!(check(&idx(8, &[1; 255], &[7])).is_some());
    assert!(check(&idx(8, &[u32::MAX; 255], &pixels)).is_none());
    for bytes in inputs(3, &names, 1_000, 200).chain(inputs(4, &gzip(&names), 1_000, 200)) {
        put(&path, &images);
        put(&labels, &bytes);
        count += 1;
        let size = bytes.len() + images.len();
        if let Some(data) = probe("read_idx_pair", &bytes, size, || read_idx_pair(&path, &labels)) {
            assert!(data.labels.unwrap().len() == 5 && same(&data.x, &whole.x));
        }
    }
    println!("IDX: {count} inputs");
    assert!(count >= 10_000);
}

#[test]
fn small_files_that_unfold_into_a_gigabyte_are_refused_unread() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.gz");
    for head in [idx(8, &[2, 2], &[]), idx(8, &[10, 28, 28], &[]), idx(8, &[u32::MAX, 16], &[])] {
        let bytes = bomb(&head, &[0], 1024);
        put(&path, &bytes);
        assert!(probe("read_idx", &head, bytes.len() / 64, || read_idx(&path)).is_none());
    }
    let refused = |part: &[u8], size: usize, most: usize| {
        put(&path, bomb(b"1,2\n3,4\n", part, size));
        let read = || Ok(read_csv(&path, &CsvOptions::default()).unwrap_err().to_string());
        probe("read_csv", b"", most, read).unwrap()
    };
    // a line without end
    assert!(refused(&[0], 1024, 4 << 20).contains("line 3: expected a line of at most"));
    // lines without end, with numbers and without
    for (part, most) in [(b"5,6\n".as_slice(), 2 << 20), (b"\n", 0)] {
        let e = refused(part, 24, most);
        assert!(e.contains("expected at most 16777216 bytes of text from so small a gzipped file"), "{e}");
    }
}

#[test]
fn csv_files() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("points.csv");
    let mut rng = Rng::new(9);
    let mut text = "x,\"y, z\",class\n".to_string();
    (0..12).for_each(|i| text += &format!("{:.3},{:e},{}\n", rng.uniform() * 8.0 - 4.0, rng.uniform() - 0.5, i % 3));
    let valid = text.as_bytes();
    let options = [
        CsvOptions::default().header().range(-5.0, 5.0).label("class"),
        CsvOptions::default().header().label(2).missing(Missing::DropRow),
        CsvOptions::default().header().range(-5.0, 5.0).missing(Missing::Mean),
        CsvOptions::default(),
    ];
    let mut count = 0;
    let mut check = |bytes: &[u8], options: &CsvOptions| {
        put(&path, bytes);
        count += 1;
        let data = probe("read_csv", bytes, bytes.len(), || read_csv(&path, options));
        if let Some(data) = &data {
            hold_promises(data, options.range);
            assert_eq!(data.labels.is_some(), options.label_column.is_some());
        }
        data
    };
    let whole = check(valid, &options[0]).unwrap();
    for (i, bytes) in inputs(5, valid, 8_000, 1_000).enumerate() {
        check(&bytes, &options[i % 4]);
    }
    for bytes in inputs(6, &gzip(valid), 4_000, 1_000) {
        if let Some(data) = check(&bytes, &options[0]) {
            assert!(same(&data.x, &whole.x) && data.labels == whole.labels);
        }
    }
    // what a number may not be, and what only looks large
    for field in ["nan", "inf", "-inf", "1e400", "1e-400", "--1", "0x10", "1_000", "٣", "\u{0}", "\"", "99999999999999"]
    {
        let kept = check(format!("x,y,class\n{field},1,2\n").as_bytes(), &options[0]).is_some();
        assert_eq!(kept, field == "1e-400", "{field}");
    }
    for wide in [",".repeat(100_000), "\"".repeat(100_001), "1,".repeat(50_000) + "1", "\n".repeat(100_000)] {
        options.iter().for_each(|o| drop(check(wide.as_bytes(), o)));
    }
    println!("CSV: {count} inputs");
    assert!(count >= 10_000);
}

#[test]
fn parquet_files() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("points.parquet");
    let mut rows = Rows::new(&["x", "y", "class"]);
    for i in 0..40 {
        rows.push((i as f64 / 7.0, (i * i) as f64, i % 3));
    }
    let mut df = rows.finish().unwrap();
    let vectors: Vec<Series> = (0..40).map(|i| Series::new("".into(), [i as f64, 0.5, -1.0])).collect();
    df.with_column(Series::new("v".into(), vectors).into_column()).unwrap();
    let mut count = 0;
    for (i, how) in [ParquetCompression::Uncompressed, ParquetCompression::Zstd(None)].into_iter().enumerate() {
        let mut valid = Vec::new();
        ParquetWriter::new(&mut valid).with_compression(how).finish(&mut df).unwrap();
        put(&path, &valid);
        hold_promises(&read_parquet(&path, &ParquetOptions::default().label("class")).unwrap(), None);
        // the second field of a footer is a list: of the schema's columns, here of 2^31 − 1 of them
        let end = valid.len() - 8;
        let start = end - u32::from_le_bytes(valid[end..end + 4].try_into().unwrap()) as usize;
        assert_eq!(valid[start + 2], 0x19);
        let footer = [&valid[start..start + 3], &[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07], &valid[start + 4..end]].concat();
        let lie = [&valid[..start], &footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat();
        put(&path, &lie);
        assert!(probe("read_parquet", &lie, lie.len(), || read_parquet(&path, &ParquetOptions::default())).is_none());
        for (j, bytes) in inputs(7 + i as u64, &valid, 2_000, 200).enumerate() {
            put(&path, &bytes);
            count += 1;
            let mut options = ParquetOptions::default().label(["class", "x"][j % 2]);
            options.range = Some((0.0, 1e6)).filter(|_| j % 3 == 0);
            options.missing = [Missing::Refuse, Missing::DropRow, Missing::Mean][j % 3];
            if let Some(data) = probe("read_parquet", &bytes, bytes.len(), || read_parquet(&path, &options)) {
                hold_promises(&data, options.range);
            }
        }
    }
    println!("Parquet: {count} inputs");
}

// ---------------------------------------------------------------------------------------------------- runs that are kept

fn mixture() -> Mixture {
    Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5]).unwrap()
}

fn trainer() -> Trainer<Ula> {
    let settings = Settings { walkers: 12, steps: 6, lr: 0.05, batch: Some(7), progress: 0.0, ..Default::default() };
    Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min: 0.95 }).settings(settings)
}

fn data() -> Tensor {
    mixture().sample(20, &mut Rng::new(1))
}

const CHECKPOINT: &str = "checkpoint.safetensors";
const BEFORE: &str = "checkpoint.previous.safetensors";
const PARTS: [&str; 3] = [CHECKPOINT, "stats.csv", "run.json"];

/// The files of a run that was paused halfway.
fn kept(dir: &Path) -> [Vec<u8>; 3] {
    let run =
        trainer().checkpointing(Checkpointing::new(dir).pause_after_steps(3)).train(&mut mixture(), &data()).unwrap();
    assert!(!run.finished());
    PARTS.map(|name| fs::read(dir.join(name)).unwrap())
}

/// A checkpoint taken apart: its state, and of each tensor name, type, shape and bytes.
#[derive(Clone)]
struct Anatomy {
    state: String,
    tensors: Vec<(String, String, Vec<u64>, Vec<u8>)>,
}

impl Anatomy {
    fn of(bytes: &[u8]) -> Self {
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
        let mut tensors = vec![];
        for (name, info) in header.as_object().unwrap() {
            if name == "__metadata__" || name == "sha256" {
                continue;
            }
            let numbers = |key: &str| info[key].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
            let (shape, span): (Vec<u64>, Vec<u64>) = (numbers("shape"), numbers("data_offsets"));
            let content = bytes[end + span[0] as usize..end + span[1] as usize].to_vec();
            tensors.push((name.clone(), info["dtype"].as_str().unwrap().to_string(), shape, content));
        }
        Anatomy { state: header["__metadata__"]["jarzynski"].as_str().unwrap().into(), tensors }
    }

    /// As a file whose digest is right, whatever else is not.
    fn file(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(&self.state);
        let mut sorted: Vec<_> = self.tensors.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, dtype, shape, content) in sorted {
            hash.update(format!("\n{name} {dtype} {shape:?}\n"));
            hash.update(content);
        }
        let told = ("sha256".to_string(), "U8".to_string(), vec![32], hash.finalize().to_vec());
        let mut header = serde_json::json!({ "__metadata__": { "jarzynski": self.state } });
        let mut body = vec![];
        for (name, dtype, shape, content) in self.tensors.iter().chain([&told]) {
            let span = [body.len(), body.len() + content.len()];
            header[name] = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": span });
            body.extend(content);
        }
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &body].concat()
    }

    /// The same with one lie.
    fn forge(&self, rng: &mut Rng) -> Vec<u8> {
        let mut forged = self.clone();
        if below(rng, 3) == 0 {
            let mut state: Value = serde_json::from_str(&self.state).unwrap();
            let keys: Vec<String> = state.as_object().unwrap().keys().cloned().collect();
            let key = &keys[below(rng, keys.len())];
            let map = state.as_object_mut().unwrap();
            let old = map[key].clone();
            let lie = match below(rng, 8) {
                0 => u64::MAX.into(),
                1 => i64::MIN.into(),
                2 => 1e300.into(),
                3 => "kept".into(),
                4 => Value::Null,
                5 => Value::Array(vec![old; 3]),
                6 => Value::from(below(rng, 100)),
                _ => Value::Object(Default::default()),
            };
            if below(rng, 6) == 0 {
                drop(map.remove(key))
            } else {
                map[key] = lie
            }
            forged.state = state.to_string();
            return forged.file();
        }
        let which = below(rng, forged.tensors.len());
        let (name, dtype, shape, content) = &mut forged.tensors[which];
        let count: u64 = shape.iter().product();
        match below(rng, 12) {
            0 => *shape = vec![count],
            1 => shape.reverse(),
            2 => shape.push(1),
            3 => *shape = vec![count, 1],
            4 => (*shape, *content) = (vec![0, u64::MAX], vec![]),
            5 => (*shape, *content) = (vec![0, 2], vec![]),
            6 => (*shape, *content) = (vec![1 << 32, 1 << 32], vec![]),
            7 => *shape = vec![1 << 63, 2, count],
            8 => *dtype = pick(rng, &["F64", "I64", "F32", "I32", "F16", "BF16", "U8", "BOOL", "I8", "U64"]).into(),
            9 => {
                let number = pick(rng, &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1.0, 0.0]);
                let bytes = if below(rng, 2) == 0 { number.to_le_bytes() } else { rng.seed().to_le_bytes() };
                content.iter_mut().zip(bytes.iter().cycle()).for_each(|(b, n)| *b = *n);
            }
            10 => *name = format!("walkers.graph.rows.{}", below(rng, 2)),
            _ => drop(forged.tensors.remove(which)),
        }
        forged.file()
    }
}

/// Rows in bits, without the wall-clock column.
fn rows(run: &Run) -> Vec<Vec<u64>> {
    let names = ["step", "energy_data", "energy_walkers", "log_z", "log_z_monitor", "ess", "grad_norm"];
    names.iter().map(|n| run.column(n).unwrap().iter().map(|v| v.to_bits()).collect()).collect()
}

/// Whatever a person may ask of an opened run.
fn use_it(run: &Run) {
    run.summary();
    run.warnings();
    assert!(run.samples(5, &mut Rng::new(0)).size()[0] <= 5);
}

#[test]
fn damaged_files_of_a_kept_run_are_refused_or_change_nothing() {
    let _one = alone();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let valid = kept(dir);
    let whole = Run::open(dir).unwrap();
    let mut counts = [0; 3];
    for (which, name) in PARTS.iter().enumerate() {
        for bytes in inputs(20 + which as u64, &valid[which], [8_000, 3_000, 3_000][which], 200) {
            put(dir.join(name), &bytes);
            counts[which] += 1;
            let Some(run) = probe(name, &bytes, bytes.len(), || Run::open(dir)) else { continue };
            if which == 0 {
                assert!(same(run.walkers.x(), whole.walkers.x()));
                assert!(same(run.walkers.log_weights(), whole.walkers.log_weights()));
            }
            use_it(&run);
        }
        put(dir.join(name), &valid[which]);
    }
    for (which, text) in [(0, ""), (1, "a,b\n"), (2, "{\"label\":")] {
        let deep = text.to_string() + &"[".repeat(100_000) + &"]".repeat(100_000) + "\n";
        // of a checkpoint: a header that is nothing but depth, and lengths that no file has
        let headers = [deep.len() as u64, u64::MAX, u64::MAX - 7, i64::MAX as u64, 100_000_000, 8];
        for length in headers {
            let head = if which == 0 { length.to_le_bytes().to_vec() } else { vec![] };
            let bytes = [head, deep.clone().into_bytes()].concat();
            put(dir.join(PARTS[which]), &bytes);
            assert!(probe(PARTS[which], b"deep", bytes.len(), || Run::open(dir)).is_none());
        }
        put(dir.join(PARTS[which]), &valid[which]);
    }
    println!("checkpoint, rows, card: {counts:?} inputs");
    assert!(counts[0] >= 10_000);
}

#[test]
fn forged_checkpoints_with_the_right_digest_do_no_harm() {
    let _one = alone();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let valid = kept(dir);
    let anatomy = Anatomy::of(&valid[0]);
    let lay = |bytes: &[u8]| {
        put(dir.join(CHECKPOINT), bytes);
        put(dir.join("stats.csv"), &valid[1]);
        // alone: a whole one before it would be gone on from
        let _ = fs::remove_file(dir.join(BEFORE));
    };
    lay(&anatomy.file());
    let whole = Run::open(dir).expect("the digest is made as the library makes it");
    let expected = trainer().train(&mut mixture(), &data()).unwrap();
    let mut rng = Rng::new(31);
    let (mut opened, mut resumed) = (0, 0);
    for i in 0..3_000 {
        let bytes = anatomy.forge(&mut rng);
        lay(&bytes);
        if let Some(run) = probe("forged", &bytes, bytes.len(), || Run::open(dir)) {
            opened += 1;
            use_it(&run);
        }
        if i % 4 == 0 {
            let run =
                probe("resume", &bytes, bytes.len(), || trainer().resume_or_start(dir).train(&mut mixture(), &data()));
            resumed += usize::from(run.is_some());
            if let Some(Outcome::Diverged { cause, .. }) = run.map(|run| run.outcome) {
                assert!(!cause.is_empty());
            }
        }
    }
    assert!(opened > 100 && resumed > 10, "{opened} opened, {resumed} resumed: lies that nobody believes test little");
    for bytes in inputs(32, &valid[0], 600, 20).step_by(5) {
        lay(&bytes);
        let run =
            probe("resume", &bytes, bytes.len(), || trainer().resume_or_start(dir).train(&mut mixture(), &data()));
        if let Some(run) = run {
            assert!(run.finished());
            assert_eq!(rows(&run), rows(&expected));
        }
    }
    // one that says nothing about the rows but their number
    let mut state: Value = serde_json::from_str(&anatomy.state).unwrap();
    assert!(!anatomy.state.contains("host_noise"), "a new setting at its default refuses what older versions kept");
    assert!(state.as_object_mut().unwrap().remove("seal").is_some());
    lay(&Anatomy { state: state.to_string(), ..anatomy.clone() }.file());
    let e = trainer().resume_or_start(dir).train(&mut mixture(), &data()).unwrap_err();
    assert!(matches!(&e, Error::Data { place, .. } if place == "seal"), "{e}");
    lay(&valid[0]);
    assert!(same(Run::open(dir).unwrap().walkers.x(), whole.walkers.x()));
    let run = trainer().resume_or_start(dir).train(&mut mixture(), &data()).unwrap();
    assert_eq!(rows(&run), rows(&expected));
}

#[test]
fn memory_is_watched_and_panics_are_caught() {
    let mut one = alone();
    let at_once = || Ok(std::hint::black_box(vec![1u8; 20 << 20]).len());
    let step_by_step = || {
        let mut bytes = Vec::new();
        std::io::repeat(0).take(20 << 20).read_to_end(&mut bytes).unwrap();
        Ok(bytes.len())
    };
    let lasting = || Ok(Tensor::ones([40 << 20], (Kind::Double, Device::Cpu)).numel());
    assert!(catch_unwind(|| probe("at once", b"x", 1, at_once)).is_err());
    assert!(catch_unwind(|| probe("step by step", b"x", 1, step_by_step)).is_err());
    let before = most_resident();
    probe("tensor", b"x", 1, lasting);
    assert!(before == 0 || most_resident() > before + (200 << 20));
    let panicking = catch_unwind(|| probe("panicking", b"x", 1, || -> Result<()> { panic!("so it is") }));
    assert!(panicking.is_err());
    one.resident = most_resident();
    let modest =
        probe("modest", b"x", 1, || Ok(Tensor::zeros([3], (Kind::Float, jarzynski::tch::Device::Cpu)).numel()));
    assert_eq!(modest, Some(3));
}
