//! What answers may do to a book, and what they may not.

use proptest::prelude::*;

use super::*;
use crate::control::discover::answer::Target;
use crate::control::tests::loaded;

const FILE: &str = "[pools.shop]\nbackends = [\n\
    { id = \"x\", address = \"127.0.0.9:80\" },\n\
    { id = \"app\", address = \"app.internal:80\", discover = \"dns\", max_requests = 7 },\n\
    { address = \"_http._tcp.app.internal\", discover = \"srv\" },\n]\n\
    drain.deadline = \"100s\"\n";

fn model(text: &str) -> Model {
    loaded(text).model
}

fn book(model: &Model) -> Book {
    let mut book = Book::default();
    book.follow(model, 0);
    book
}

fn source(model: &Model, discover: Discover) -> Source {
    Source::all(model).into_iter().find(|source| source.discover == discover).unwrap()
}

fn address(last: u8) -> SocketAddr {
    ([127, 0, 0, last], 80).into()
}

fn answer(lasts: &[u8]) -> Option<Answer> {
    let target = |last: &u8| Target {
        address: address(*last),
        host: "app.internal".into(),
        weight: u32::from(*last),
    };
    Answer::new(lasts.iter().map(target))
}

/// Ids with weights; those that leave with a star.
fn shown(book: &Book, model: &Model) -> Vec<String> {
    let expanded = book.expand(model);
    let star = |backend: &Backend| {
        let leaves = backend.found.as_ref().is_some_and(|found| found.leaving.is_some());
        if leaves { "*" } else { "" }
    };
    let line = |one: &Backend| format!("{} {}{}", &*one.id.value, one.weight, star(one));
    expanded.pools[0].backends.iter().map(line).collect()
}

#[test]
fn each_address_is_a_backend_by_its_own_id_in_place_of_what_stands_for_it() {
    let model = model(FILE);
    let mut book = book(&model);
    assert_eq!(shown(&book, &model), ["x 1"]);
    let (dns, srv) = (source(&model, Discover::Dns), source(&model, Discover::Srv));
    book.take(&dns, &answer(&[3, 2, 2]).unwrap(), &model, 1);
    book.take(&srv, &answer(&[5]).unwrap(), &model, 1);
    let all = ["x 1", "app-127.0.0.2-80 1", "app-127.0.0.3-80 1", "127.0.0.5-80 5"];
    assert_eq!(shown(&book, &model), all);
    let found = &book.expand(&model).pools[0].backends[1];
    assert_eq!((found.max_requests, &*found.found.as_ref().unwrap().name), (7, "app.internal:80"));
    book.take(&dns, &answer(&[2]).unwrap(), &model, 10);
    let left = ["x 1", "app-127.0.0.2-80 1", "127.0.0.5-80 5", "app-127.0.0.3-80 1*"];
    assert_eq!(shown(&book, &model), left);
    let found = book.expand(&model).pools[0].backends[3].found.clone().unwrap();
    assert_eq!(found.leaving, Some(Leaving { since: 10, until: Some(110) }));
    book.take(&dns, &answer(&[3, 2]).unwrap(), &model, 20);
    assert_eq!(shown(&book, &model), all, "it is back as if it had never left");
}

#[test]
fn an_address_that_the_file_lists_is_what_the_file_says() {
    let model = model(FILE);
    let mut book = book(&model);
    book.take(&source(&model, Discover::Dns), &answer(&[9, 4]).unwrap(), &model, 1);
    book.take(&source(&model, Discover::Srv), &answer(&[4]).unwrap(), &model, 1);
    assert_eq!(shown(&book, &model), ["x 1", "app-127.0.0.4-80 1"]);
}

#[test]
fn what_the_file_does_not_ask_about_any_more_leaves_and_goes_with_its_pool() {
    let old = model(FILE);
    let mut book = book(&old);
    book.take(&source(&old, Discover::Dns), &answer(&[2]).unwrap(), &old, 1);
    let new = model("[pools.shop]\nbackends = []\ndrain.deadline = \"none\"\n");
    book.follow(&new, 5);
    assert_eq!(shown(&book, &new), ["app-127.0.0.2-80 1*"]);
    assert_eq!(book.0.len(), 1, "a name that has nobody is forgotten");
    let mut gone = book.clone();
    gone.let_go(&HashSet::new());
    gone.follow(&new, 6);
    assert!(gone.is_empty());
    // The same name under another id: who is there does not leave.
    let other = model(&FILE.replace("id = \"app\"", "id = \"farm\""));
    book.follow(&other, 7);
    book.take(&source(&other, Discover::Dns), &answer(&[2]).unwrap(), &other, 7);
    assert_eq!(shown(&book, &other), ["x 1", "farm-127.0.0.2-80 1"]);
    book.follow(&model("[pools.other]\nbackends = []\n"), 8);
    assert!(book.is_empty());
}

#[test]
fn an_answer_has_no_more_than_are_taken_and_always_the_same() {
    let target = |number: u16| Target {
        address: SocketAddr::from((
            [10, 0, (number >> 8).to_le_bytes()[0], number.to_le_bytes()[0]],
            80,
        )),
        host: "h".into(),
        weight: 1,
    };
    let forth = Answer::new((0..1000).map(target)).unwrap();
    let back = Answer::new((0..1000).rev().map(target)).unwrap();
    assert_eq!((forth.targets().len(), forth.left_out()), (MAX_DISCOVERED, 1000 - MAX_DISCOVERED));
    assert_eq!(forth, back);
}

/// One step of a course: an answer, none, or somebody who has left for good.
#[derive(Debug, Clone)]
enum Step {
    Answer(Vec<u8>),
    Gone(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(1_u8..20, 0..12).prop_map(Step::Answer),
        1 => (1_u8..20).prop_map(Step::Gone),
    ];
    prop::collection::vec(step, 1..24)
}

proptest! {
    #[test]
    fn who_is_there_is_the_last_good_answer_and_nobody_leaves_twice(steps in steps()) {
        let model = model(FILE);
        let mut book = book(&model);
        let dns = source(&model, Discover::Dns);
        let mut last: BTreeSet<SocketAddr> = BTreeSet::new();
        for (now, step) in (1_u32..).zip(steps) {
            let before = book.clone();
            match step {
                Step::Answer(lasts) => match answer(&lasts) {
                    None => {}
                    Some(good) => {
                        last = lasts.iter().map(|last| address(*last)).collect();
                        book.take(&dns, &good, &model, now);
                        let mut other = lasts.clone();
                        other.reverse();
                        let mut again = book.clone();
                        again.take(&dns, &answer(&other).unwrap(), &model, now + 1000);
                        prop_assert_eq!(&again, &book, "order and repetition change nothing");
                    }
                },
                Step::Gone(last) => {
                    let others = (1..20).filter(|other| *other != last);
                    book.let_go(&others.map(|other| ("shop".into(), address(other))).collect());
                }
            }
            let known = &book.0[&dns].0;
            let there: BTreeSet<SocketAddr> = book.0[&dns].present().map(|s| s.address).collect();
            prop_assert_eq!(&there, &last);
            prop_assert!(known.is_sorted_by(|a, b| a.address < b.address));
            for seen in known {
                let Some(leaving) = seen.leaving else { continue };
                prop_assert_eq!(leaving.until, Some(leaving.since + 100));
                let was = before.0[&dns].0.iter().find(|was| was.address == seen.address);
                prop_assert!(was.is_some(), "only who was there can leave");
                if let Some(old) = was.and_then(|was| was.leaving) {
                    prop_assert_eq!(old, leaving, "it leaves once");
                }
            }
            // What is told of it is the difference, no more and no less.
            let news = book.news(&before);
            prop_assert_eq!(news.is_empty(), before == book);
            for (_, news) in news {
                for address in news.joined.iter().chain(&news.returned) {
                    prop_assert!(last.contains(address));
                }
                for address in news.left.iter().chain(&news.gone) {
                    prop_assert!(!last.contains(address));
                }
            }
            // Whatever is expanded is a file that would hold: every id and address once.
            let backends = &book.expand(&model).pools[0].backends;
            let ids: HashSet<&str> = backends.iter().map(|one| &*one.id.value).collect();
            let at: HashSet<&Address> = backends.iter().map(|one| &one.address.value).collect();
            prop_assert_eq!((ids.len(), at.len()), (backends.len(), backends.len()));
        }
    }

    #[test]
    fn however_answers_change_there_is_an_end_to_who_leaves(rounds in 1_u16..8) {
        let model = model(FILE);
        let mut book = book(&model);
        let dns = source(&model, Discover::Dns);
        for round in 0..rounds {
            let target = |number: u16| {
                let [low, high] = number.to_le_bytes();
                let [round, _] = round.to_le_bytes();
                Target { address: ([10, round, high, low], 80).into(), host: "h".into(), weight: 1 }
            };
            let good = Answer::new((0..300).map(target)).unwrap();
            book.take(&dns, &good, &model, u32::from(round));
            let (there, leaving) = book.count(&dns);
            prop_assert_eq!(there, MAX_DISCOVERED);
            prop_assert_eq!(leaving, if round == 0 { 0 } else { MAX_DISCOVERED });
        }
    }
}
