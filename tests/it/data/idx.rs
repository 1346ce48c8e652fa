//! IDX files: values of every element type, and where a bad file goes wrong.

use super::*;

/// An IDX file of bytes with these sizes.
fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    file(8, sizes, bytes)
}

/// An IDX file of elements of this type.
fn file(element: u8, sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, element, sizes.len() as u8];
    sizes.iter().for_each(|s| file.extend(s.to_be_bytes()));
    file.extend(bytes);
    file
}

#[test]
fn idx_reads_every_element_type_with_the_kind_that_holds_its_values() {
    let dir = folder();
    let cases: [(u8, Vec<u8>, Kind, [f64; 2]); 6] = [
        (0x08, vec![0, 255], Kind::Float, [0.0, 255.0]),
        (0x09, vec![0x80, 127], Kind::Float, [-128.0, 127.0]),
        (0x0b, [i16::MIN.to_be_bytes(), i16::MAX.to_be_bytes()].concat(), Kind::Float, [-32_768.0, 32_767.0]),
        (
            0x0c,
            [i32::MIN.to_be_bytes(), i32::MAX.to_be_bytes()].concat(),
            Kind::Double,
            [-2_147_483_648.0, 2_147_483_647.0],
        ),
        (0x0d, [0.1_f32.to_be_bytes(), (-2.5_f32).to_be_bytes()].concat(), Kind::Float, [f64::from(0.1_f32), -2.5]),
        (0x0e, [0.1_f64.to_be_bytes(), 1e300_f64.to_be_bytes()].concat(), Kind::Double, [0.1, 1e300]),
    ];
    for (element, bytes, kind, expected) in cases {
        for content in [file(element, &[1, 2], &bytes), gzip(file(element, &[1, 2], &bytes))] {
            let data = read_idx(put(&dir, "numbers", content)).unwrap();
            assert_eq!(
                (data.x.kind(), data.x.size(), values(&data.x)),
                (kind, vec![1, 2], expected.to_vec()),
                "{element:02x}"
            );
            assert_eq!(data.range, (element == 8).then_some((0.0, 255.0)));
        }
    }
    let images = put(&dir, "images", idx(&[2, 1], &[1, 2]));
    let labels = put(&dir, "labels", file(0x0c, &[2], &[(-7_i32).to_be_bytes(), 70_000_i32.to_be_bytes()].concat()));
    assert_eq!(read_idx_pair(&images, &labels).unwrap().labels, Some(vec![-7, 70_000]));
    let floats = put(&dir, "floats", file(0x0d, &[2], &[0; 8]));
    fails(read_idx_pair(&images, &floats), &floats, "byte 2", "integer labels, found element type 0d, 32-bit floats");
}

#[test]
fn idx_reads_plain_and_gzipped_whatever_the_name() {
    let dir = folder();
    let file = idx(&[2, 2, 3], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]);
    for path in [put(&dir, "plain.gz", &file), put(&dir, "gzipped", gzip(&file))] {
        let data = read_idx(&path).unwrap();
        assert_eq!((data.x.size(), data.x.kind(), data.shape.clone()), (vec![2, 6], Kind::Float, vec![2, 3]));
        assert_eq!(values(&data.x), [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 255.]);
        assert_eq!((data.range, data.labels), (Some((0.0, 255.0)), None));
    }
    let list = read_idx(put(&dir, "list", idx(&[3], &[5, 0, 4]))).unwrap();
    assert_eq!((list.x.size(), list.shape), (vec![3, 1], vec![1]));
}

#[test]
fn idx_pairs_images_with_labels() {
    let dir = folder();
    let images = put(&dir, "images", idx(&[3, 1, 2], &[1, 2, 3, 4, 5, 6]));
    let labels = put(&dir, "labels.gz", gzip(idx(&[3], &[9, 0, 9])));
    let data = read_idx_pair(&images, &labels).unwrap();
    assert_eq!((data.labels.as_deref(), data.counts()), (Some(&[9, 0, 9][..]), [(0, 1), (9, 2)].into()));
    let short = put(&dir, "short", idx(&[2], &[9, 0]));
    let expected = format!("sizes [3], one label per image of {}, found [2]", images.display());
    fails(read_idx_pair(&images, &short), &short, "byte 4", &expected);
    let expected = format!("sizes [3], one label per image of {}, found [3, 1, 2]", images.display());
    fails(read_idx_pair(&images, &images), &images, "byte 4", &expected);
}

#[test]
fn idx_says_where_a_bad_file_goes_wrong_plain_and_gzipped() {
    let good = idx(&[2, 2, 2], &[1; 8]);
    let cases: &[(&str, Vec<u8>, &str, &str)] = &[
        ("empty", vec![], "byte 0", "the 4 bytes of an IDX magic number, the file ends"),
        ("stub", good[..3].to_vec(), "byte 3", "the 4 bytes of an IDX magic number, the file ends"),
        ("magic", b"PNG and more".to_vec(), "byte 0", "the IDX magic number 00 00 08 rank, found 50 4e 47 20"),
        ("type", [&[0, 0, 10, 3], &good[4..]].concat(), "byte 2", "element type 08, 09, 0b, 0c, 0d or 0e, found 0a"),
        ("odd", file(0x0d, &[1, 1], &[0; 5]), "byte 16", "the end of the file, 4 bytes for sizes [1, 1] are over"),
        (
            "nan",
            file(0x0d, &[2, 1], &[1.5_f32.to_be_bytes(), f32::NAN.to_be_bytes()].concat()),
            "byte 16",
            "a finite number, found NaN",
        ),
        (
            "infinite",
            file(0x0e, &[1, 2], &[1.5_f64.to_be_bytes(), f64::NEG_INFINITY.to_be_bytes()].concat()),
            "byte 20",
            "a finite number, found -inf",
        ),
        ("rank", vec![0, 0, 8, 0], "byte 3", "at least one size, found rank 0"),
        ("header", good[..10].to_vec(), "byte 10", "3 sizes of 4 bytes each, the file ends"),
        ("zero", idx(&[2, 0, 2], &[]), "byte 8", "sizes of at least 1, found [2, 0, 2]"),
        ("long", [&good[..], &[1, 1]].concat(), "byte 24", "the end of the file, 8 bytes for sizes [2, 2, 2] are over"),
    ];
    let dir = folder();
    for (name, file, place, expected) in cases {
        let path = put(&dir, name, file);
        fails(read_idx(&path), &path, place, expected);
        let path = put(&dir, &format!("{name}.gz"), gzip(file));
        fails(read_idx(&path), &path, place, expected);
    }
    // plain, the length of the file is known; gzipped, the content has to be read
    let path = put(&dir, "cut", &good[..20]);
    fails(read_idx(&path), &path, "byte 4", "sizes that fit the file, at most 4 bytes follow, found [2, 2, 2]");
    let path = put(&dir, "cut.gz", gzip(&good[..20]));
    fails(read_idx(&path), &path, "byte 20", "8 bytes for sizes [2, 2, 2], the file ends");
}

#[test]
fn idx_does_not_believe_a_header_that_lies() {
    let dir = folder();
    for (name, sizes) in [("large", vec![4_000_000_000, 28, 28]), ("overflow", vec![u32::MAX; 255])] {
        let file = idx(&sizes, &[1; 8]);
        let follow = 8;
        let path = put(&dir, name, &file);
        let expected = format!("sizes that fit the file, at most {follow} bytes follow, found {sizes:?}");
        fails(read_idx(&path), &path, "byte 4", &expected);
        let path = put(&dir, &format!("{name}.gz"), gzip(&file));
        fails_like(read_idx(&path), &path, "byte 4", "sizes that fit the file, at most");
    }
    // a lie below the bound of what gzip could hold: it ends at the true end
    let path = put(&dir, "modest.gz", gzip(idx(&[100, 28], &[1; 8])));
    fails(read_idx(&path), &path, "byte 20", "2800 bytes for sizes [100, 28], the file ends");
}

#[test]
fn idx_notices_every_truncation_and_damage_of_a_gzip_stream() {
    let dir = folder();
    let bytes: Vec<u8> = (0..2000_u32).map(|i| (i * i % 251) as u8).collect();
    let whole = gzip(idx(&[20, 100], &bytes));
    for n in 0..whole.len() {
        let path = put(&dir, "cut.gz", &whole[..n]);
        let e = read_idx(&path).expect_err("a truncated file");
        assert!(matches!(e, Error::Data { .. }) && e.to_string().contains("cut.gz: byte "), "{n}: {e}");
    }
    for n in 10..whole.len() {
        let mut damaged = whole.clone();
        damaged[n] ^= 0x10;
        let path = put(&dir, "damaged.gz", &damaged);
        match read_idx(&path) {
            // the last byte of the deflated stream has unused bits
            Ok(data) => assert!(values(&data.x).iter().zip(&bytes).all(|(v, &b)| *v == f64::from(b)), "{n}"),
            Err(e) => {
                assert!(matches!(e, Error::Data { .. }) && e.to_string().contains("damaged.gz: byte "), "{n}: {e}")
            }
        }
    }
    let path = put(&dir, "tail.gz", [&whole[..], b"tail"].concat());
    fails_like(read_idx(&path), &path, "byte 2012", "a whole gzip stream");
}
