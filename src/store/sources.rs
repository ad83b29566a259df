//! A store and a pin of it as sources: each read has a view of its own.

use super::pinned::Pinned;
use super::whole::Store;
use crate::model::{LabelSet, TenantId, TimeRange};
use crate::source::{
    FamilyMetadata, ReadContext, Selection, SeriesExemplars, SeriesStream, Source, SourceError,
};

/// Whatever hands out views for a read is a source.
macro_rules! source_of_views {
    ($of:ty) => {
        impl Source for $of {
            fn select(
                &self,
                selection: &Selection,
                context: &ReadContext,
            ) -> Result<Box<dyn SeriesStream>, SourceError> {
                self.read_view(selection.range).select(selection, context)
            }

            fn series(
                &self,
                selection: &Selection,
                limit: usize,
                context: &ReadContext,
            ) -> Result<Vec<LabelSet>, SourceError> {
                let view = self.read_view(selection.range);
                view.series(selection, limit, context)
            }

            fn label_names(
                &self,
                selection: &Selection,
                limit: usize,
                context: &ReadContext,
            ) -> Result<Vec<String>, SourceError> {
                let view = self.read_view(selection.range);
                view.label_names(selection, limit, context)
            }

            fn label_values(
                &self,
                name: &str,
                selection: &Selection,
                limit: usize,
                context: &ReadContext,
            ) -> Result<Vec<String>, SourceError> {
                let view = self.read_view(selection.range);
                view.label_values(name, selection, limit, context)
            }

            fn metadata(
                &self,
                tenant: &TenantId,
                family: Option<&str>,
                context: &ReadContext,
            ) -> Result<Vec<FamilyMetadata>, SourceError> {
                let view = self.read_view(TimeRange::ALL);
                view.metadata(tenant, family, context)
            }

            fn exemplars(
                &self,
                selection: &Selection,
                context: &ReadContext,
            ) -> Result<Vec<SeriesExemplars>, SourceError> {
                self.read_view(selection.range)
                    .exemplars(selection, context)
            }
        }
    };
}

source_of_views!(Store);
source_of_views!(Pinned);
