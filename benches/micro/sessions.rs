//! How a visitor is known again: the token, the fields of `Cookie`, and both together.

use std::hint::black_box;

use criterion::Criterion;
use ostler::config::model::SecretKey;
use ostler::sticky::{KeyRing, Memo, Presented, Token, cookie};

use super::world::{self, NOW, OTHER_COOKIES};

pub(super) fn sessions(criterion: &mut Criterion) {
    tokens(criterion);
    cookies(criterion);
    visitors(criterion);
}

fn tokens(criterion: &mut Criterion) {
    let ring = KeyRing::new(&[SecretKey([1; 32])]).expect("one key makes a ring");
    let token = Token::begin(1, 2, 3, NOW);
    let sealed = ring.seal(b"shop", &token, [7; 12]);
    assert_eq!(ring.open(b"shop", sealed.as_bytes()), Ok(token));
    let mut group = criterion.benchmark_group("token");
    group.bench_function("seal", |bencher| {
        bencher.iter(|| ring.seal(black_box(b"shop"), black_box(&token), black_box([7; 12])));
    });
    group.bench_function("open", |bencher| {
        bencher.iter(|| ring.open(black_box(b"shop"), black_box(sealed.as_bytes())));
    });
    group.finish();
}

fn cookies(criterion: &mut Criterion) {
    let (snapshot, _) = world::worker();
    let field = world::cookie(&snapshot);
    let name = world::stickiness(&snapshot).name(true).as_bytes();
    assert!(cookie::values(field.as_bytes(), name).next().is_some());
    let ours = |name: &[u8]| cookie::is_ours(name, &[]);
    let mut group = criterion.benchmark_group("cookie");
    group.bench_function("find", |bencher| {
        bencher.iter(|| cookie::values(black_box(field.as_bytes()), name).next());
    });
    group.bench_function("strip", |bencher| {
        bencher.iter(|| cookie::strip(black_box(field.as_bytes()), ours));
    });
    // Nearly every request of a pool without sessions: there is nothing of ours to find.
    group.bench_function("strip_none", |bencher| {
        bencher.iter(|| cookie::strip(black_box(OTHER_COOKIES.as_bytes()), ours));
    });
    group.finish();
}

/// What an exchange asks of the two above.
fn visitors(criterion: &mut Criterion) {
    let (snapshot, _) = world::worker();
    let sticky = world::stickiness(&snapshot);
    let field = world::cookie(&snapshot);
    let mut group = criterion.benchmark_group("session");
    let mut memo = Memo::default();
    let read = |memo: &mut Memo| sticky.read(Some(black_box(field.as_bytes())), true, NOW, memo);
    assert!(matches!(read(&mut memo), Presented::Valid(_)));
    group.bench_function("read_first", |bencher| bencher.iter(|| read(&mut Memo::default())));
    group.bench_function("read_again", |bencher| bencher.iter(|| read(&mut memo)));
    let token = world::token(&snapshot);
    group.bench_function("set_cookie", |bencher| {
        bencher.iter(|| sticky.set_cookie(black_box(&token), true, black_box([7; 12])));
    });
    group.finish();
}
