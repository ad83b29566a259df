//! A store, a pin of it, and blocks that all lie elsewhere as sources: each read has a view of its own.

use super::cardinality::label_pairs;
use super::elsewhere::Elsewhere;
use super::pinned::Pinned;
use super::stream::APART_MIN;
use super::whole::Store;
use crate::model::{LabelSet, TenantId, TimeRange};
use crate::source::{
    Contents, FamilyMetadata, LabelPairs, Moments, ReadContext, Selection, SeriesExemplars,
    SeriesStream, Source, SourceError,
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
                let view = self.read_view(selection.range)?;
                view.select(selection, None, context)
            }

            fn select_newest(
                &self,
                selection: &Selection,
                moments: Moments,
                context: &ReadContext,
            ) -> Result<Box<dyn SeriesStream>, SourceError> {
                let view = self.read_view(selection.range)?;
                view.select(selection, Some(moments), context)
            }

            fn select_apart(
                &self,
                selection: &Selection,
                moments: Option<Moments>,
                context: &ReadContext,
            ) -> Result<Vec<Box<dyn SeriesStream>>, SourceError> {
                let view = self.read_view(selection.range)?;
                view.select_apart(selection, moments, APART_MIN, context)
            }

            fn contents(&self, _: &TenantId, range: TimeRange) -> Option<Contents> {
                Some(self.read_view(range).ok()?.contents(range))
            }

            fn series(
                &self,
                selection: &Selection,
                limit: usize,
                context: &ReadContext,
            ) -> Result<Vec<LabelSet>, SourceError> {
                let view = self.read_view(selection.range)?;
                view.series(selection, limit, context)
            }

            fn label_names(
                &self,
                selection: &Selection,
                limit: usize,
                context: &ReadContext,
            ) -> Result<Vec<String>, SourceError> {
                let view = self.read_view(selection.range)?;
                view.label_names(selection, limit, context)
            }

            fn label_values(
                &self,
                name: &str,
                selection: &Selection,
                limit: usize,
                context: &ReadContext,
            ) -> Result<Vec<String>, SourceError> {
                let view = self.read_view(selection.range)?;
                view.label_values(name, selection, limit, context)
            }

            fn metadata(
                &self,
                tenant: &TenantId,
                family: Option<&str>,
                context: &ReadContext,
            ) -> Result<Vec<FamilyMetadata>, SourceError> {
                let view = self.read_view(TimeRange::ALL)?;
                view.metadata(tenant, family, context)
            }

            fn label_pairs(
                &self,
                tenant: &TenantId,
                context: &ReadContext,
            ) -> Result<LabelPairs, SourceError> {
                label_pairs(&self.read_heads(), tenant, context)
            }

            fn exemplars(
                &self,
                selection: &Selection,
                context: &ReadContext,
            ) -> Result<Vec<SeriesExemplars>, SourceError> {
                self.read_view(selection.range)?
                    .exemplars(selection, context)
            }
        }
    };
}

source_of_views!(Store);
source_of_views!(Pinned);
source_of_views!(Elsewhere);
