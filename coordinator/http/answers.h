// One function a route (routes.cc). Each answers the exchange now or once the loop has told what it asked for.
#pragma once

#include "coordinator/http/routes.h"

namespace hone::answers {

using Answer = void(HttpContext& context, const ExchangePtr& exchange);

Answer Health, Ready, Version, Metrics, OpenApi;
Answer WhoAmI, LogIn, LogOut;
Answer ListJobs, Submit, GetJob, ListTrials, GetTrial, ListAttempts, ExplainJob, Events, Cancel, Retry, CompareTrials;
Answer ListWorkers, Drain, Undrain, GetFleet;
Answer ListSuites, NightlyHistory;
Answer GetArtifact, PutArtifact;
Answer Page, File;

}  // namespace hone::answers
