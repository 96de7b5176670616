//! Many visitors at once, each with a jar of its own and the backend it lives on.

use super::{Door, Jar, distinct, spawn};

/// Visitors and their homes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd {
    members: Vec<Member>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) jar: Jar,
    /// Name of the backend that answered last.
    pub(crate) home: String,
}

/// Connections that share the work of a crowd.
const DOORS: usize = 4;

impl Crowd {
    /// So many come for the first time, and once more so that they count.
    pub(crate) async fn gather(door: &Door, count: usize) -> Self {
        let mut crowd = Self { members: Vec::new() };
        crowd.grow(door, count).await;
        crowd
    }

    /// So many more.
    pub(crate) async fn grow(&mut self, door: &Door, count: usize) {
        let newcomers = vec![Member { jar: Jar::new(), home: String::new() }; count];
        let mut newcomers = Self { members: visited(door, newcomers).await };
        assert!(newcomers.visit(door).await.is_empty(), "a second visit moves nobody");
        self.members.append(&mut newcomers.members);
    }

    /// Everybody comes once more. Who was answered by another backend than before: where from,
    /// and where to.
    pub(crate) async fn visit(&mut self, door: &Door) -> Vec<(String, String)> {
        let homes: Vec<String> = self.members.iter().map(|one| one.home.clone()).collect();
        self.members = visited(door, std::mem::take(&mut self.members)).await;
        let pairs = homes.into_iter().zip(self.members.iter().map(|one| one.home.clone()));
        pairs.filter(|(before, now)| before != now).collect()
    }

    /// How many live on a backend.
    pub(crate) fn on(&self, backend: &str) -> usize {
        self.members.iter().filter(|one| one.home == backend).count()
    }

    /// Their homes, each once.
    pub(crate) fn homes(&self) -> Vec<String> {
        let homes: Vec<String> = self.members.iter().map(|one| one.home.clone()).collect();
        distinct(&homes)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The tokens they have now.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.members.iter().map(|one| one.jar.token().1).collect()
    }

    /// One who lives on this backend leaves the crowd.
    pub(crate) fn pick(&mut self, backend: &str) -> Jar {
        let place = self.members.iter().position(|one| one.home == backend);
        let place = place.unwrap_or_else(|| panic!("nobody lives on {backend}"));
        self.members.remove(place).jar
    }

    /// Only those who live on this backend stay, and no more than so many.
    pub(crate) fn keep(&mut self, backend: &str, most: usize) {
        self.members.retain(|one| one.home == backend);
        self.members.truncate(most);
    }
}

/// Each comes once, in the order of the list, over a few kept connections.
async fn visited(door: &Door, members: Vec<Member>) -> Vec<Member> {
    let share = members.len().div_ceil(DOORS).max(1);
    let tasks: Vec<_> = members
        .chunks(share)
        .map(|chunk| {
            let (mut chunk, door) = (chunk.to_vec(), door.clone());
            spawn(async move {
                let mut connection = door.connect().await;
                for member in &mut chunk {
                    member.home = member.jar.get_on(&mut connection, "/visit").await.name();
                }
                chunk
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}
