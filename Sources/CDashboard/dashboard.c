// The dashboard as bytes of the program: pages, styles and modules stand in `pages` as browsers get them. `#embed` costs no
// compile time, unlike an array literal in Swift.
#include "cdashboard.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char index_html[] = {
#embed "pages/index.html"
};
static const unsigned char style_css[] = {
#embed "pages/style.css"
};
static const unsigned char icon_svg[] = {
#embed "pages/icon.svg"
};
static const unsigned char app_js[] = {
#embed "pages/app.js"
};
static const unsigned char api_js[] = {
#embed "pages/api.js"
};
static const unsigned char dom_js[] = {
#embed "pages/dom.js"
};
static const unsigned char format_js[] = {
#embed "pages/format.js"
};
static const unsigned char live_js[] = {
#embed "pages/live.js"
};
static const unsigned char chart_js[] = {
#embed "pages/chart.js"
};
static const unsigned char curves_js[] = {
#embed "pages/curves.js"
};
static const unsigned char signin_js[] = {
#embed "pages/signin.js"
};
static const unsigned char jobs_js[] = {
#embed "pages/jobs.js"
};
static const unsigned char job_js[] = {
#embed "pages/job.js"
};
static const unsigned char controls_js[] = {
#embed "pages/controls.js"
};
static const unsigned char compare_js[] = {
#embed "pages/compare.js"
};
static const unsigned char campaigns_js[] = {
#embed "pages/campaigns.js"
};
static const unsigned char campaign_js[] = {
#embed "pages/campaign.js"
};
static const unsigned char evaluations_js[] = {
#embed "pages/evaluations.js"
};
static const unsigned char workers_js[] = {
#embed "pages/workers.js"
};
static const unsigned char optimizers_js[] = {
#embed "pages/optimizers.js"
};

#define FILE(name, bytes) {name, bytes, sizeof bytes}
const cd_file cd_files[] = {
  FILE("index.html", index_html),
  FILE("style.css", style_css),
  FILE("icon.svg", icon_svg),
  FILE("app.js", app_js),
  FILE("api.js", api_js),
  FILE("dom.js", dom_js),
  FILE("format.js", format_js),
  FILE("live.js", live_js),
  FILE("chart.js", chart_js),
  FILE("curves.js", curves_js),
  FILE("signin.js", signin_js),
  FILE("jobs.js", jobs_js),
  FILE("job.js", job_js),
  FILE("controls.js", controls_js),
  FILE("compare.js", compare_js),
  FILE("campaigns.js", campaigns_js),
  FILE("campaign.js", campaign_js),
  FILE("evaluations.js", evaluations_js),
  FILE("workers.js", workers_js),
  FILE("optimizers.js", optimizers_js),
};
const long cd_files_count = sizeof cd_files / sizeof cd_files[0];
