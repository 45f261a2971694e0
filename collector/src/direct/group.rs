//! Brings records together by their origin, so that a resource is written once, and remembers where each came from.

use std::collections::HashMap;

use devmesh_schema::otlp::write::Writer;

use super::fields::Origin;

/// Origins whose records are held apart at a time.
const GROUPS: usize = 1024;

#[derive(Debug, Default)]
struct Group {
    /// The contents of a `ScopeLogs` or `ScopeSpans` message.
    items: Writer,
    indices: Vec<u32>,
}

/// An export request in the making.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    groups: HashMap<Origin<'static>, usize>,
    /// In the order of their first record.
    open: Vec<(Origin<'static>, Group)>,
    out: Writer,
    indices: Vec<u32>,
}

impl Grouped {
    /// Adds record `index` of the body, which `write` writes beside the others of its origin.
    pub(super) fn add(&mut self, origin: Origin<'_>, index: u32, write: impl FnOnce(&mut Writer)) {
        let place = match self.groups.get(&origin) {
            Some(place) => *place,
            None => {
                if self.open.len() == GROUPS {
                    self.close();
                }
                let origin = origin.into_owned();
                self.groups.insert(origin.clone(), self.open.len());
                self.open.push((origin, Group::default()));
                self.open.len() - 1
            }
        };
        let group = &mut self.open[place].1;
        write(&mut group.items);
        group.indices.push(index);
    }

    /// Writes out what is held.
    fn close(&mut self) {
        self.groups.clear();
        for (origin, group) in self.open.drain(..) {
            self.out.message(1, |out| {
                origin.write(out);
                out.put_bytes(2, group.items.as_slice());
            });
            self.indices.extend(group.indices);
        }
    }

    /// The request's bytes, and which record of the body each of its items is.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<u32>) {
        self.close();
        (self.out.into_vec(), self.indices)
    }
}
