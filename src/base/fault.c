/* The table of faults: for each its word for metrics and SQL, its verdict, the sentence that the
 * user reads and the advice for the operator. The sentence is English and has nothing of a
 * service in it. What a verdict leads to is decided in core/verdict.c and core/job.c. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/str.h"

/* clang-format off */
/* In the order of FaultInfo: word, verdict, sentence, advice, most, later. */
static const FaultInfo infos[_FAULT_MAX] = {
    [FAULT_NONE]             = { "none", VERDICT_WAIT, "", "", 0, 0 },
    [FAULT_PROMPT_MISSING]   = { "prompt_missing", VERDICT_FINAL, "The request has neither a prompt nor an image.", "", 0, 0 },
    [FAULT_INPUT_INVALID]    = { "input_invalid", VERDICT_FINAL, "The request could not be understood.", "Compare jobs.input_data with what meshify-enqueue writes.", 0, 0 },
    [FAULT_INPUT_TOO_LARGE]  = { "input_too_large", VERDICT_FINAL, "The request is too large. Please shorten the prompt.", "Longer prompts: `meshifyctl settings max_prompt`; input_data as a whole may have 512 KiB.", 0, 0 },
    [FAULT_IMAGE_FORBIDDEN]  = { "image_forbidden", VERDICT_FINAL, "The reference image cannot be used. Please upload it again or use an https address.", "Only http and https URLs and the user's own objects are taken.", 0, 0 },
    [FAULT_IMAGE_MISSING]    = { "image_missing", VERDICT_FINAL, "The reference image was not found. Please upload it again.", "", 0, 0 },
    [FAULT_IMAGE_UNREACHED]  = { "image_unreached", VERDICT_RETRY, "The mesh model could not fetch the reference image. Please try again later.", "What the model said is in the journal. It fetches the image from [storage] url.", 0, 0 },
    [FAULT_IMAGE_UNSIGNED]   = { "image_unsigned", VERDICT_RETRY, "The reference image could not be fetched. Please upload it again.", "What the store answers for this image is in the journal.", 3, 0 },
    [FAULT_ASSET_MISSING]    = { "asset_missing", VERDICT_FINAL, "The asset of this request does not exist.", "", 0, 0 },
    [FAULT_TOO_OLD]          = { "too_old", VERDICT_FINAL, "The request waited too long and was not started.", "Run more instances, or raise [worker] max_age.", 0, 0 },
    [FAULT_SERVICE_UNREACHED]= { "service_unreached", VERDICT_WAIT, "The mesh service cannot be reached at the moment.", "Check [replicate] url and the network.", 0, 0 },
    [FAULT_SERVICE_THROTTLED]= { "service_throttled", VERDICT_WAIT, "The mesh service is busy at the moment.", "Replicate's rate limit; it falls as the account's credit runs low.", 0, 0 },
    [FAULT_SERVICE_CREDIT]   = { "service_credit", VERDICT_WAIT, "The mesh service is not available at the moment.", "Replicate's account has no credit: buy some at replicate.com/account/billing.", 0, 0 },
    [FAULT_SERVICE_AUTH]     = { "service_auth", VERDICT_WAIT, "The mesh service is not available at the moment.", "Replicate refuses the token: set [replicate] token.", 0, 0 },
    [FAULT_SERVICE_REFUSED]  = { "service_refused", VERDICT_FINAL, "The mesh service did not accept this request.", "Check the model's name and version in the step; it may be private, or not official.", 0, 0 },
    [FAULT_MODEL_INPUT]      = { "model_input", VERDICT_FINAL, "The mesh model did not accept this input.", "Compare the step's input.* with the model's schema.", 0, 0 },
    [FAULT_MODEL_BUSY]       = { "model_busy", VERDICT_RETRY, "The mesh model is busy. Please try again later.", "Where it goes on: another model, or a deployment with machines of its own.", 0, 0 },
    [FAULT_MODEL_OVERLOADED] = { "model_overloaded", VERDICT_RETRY, "The mesh model is overloaded. Please try again later.", "Where it goes on: another version or model, or a deployment with machines of its own.", 0, 4 },
    [FAULT_MODEL_FAILED]     = { "model_failed", VERDICT_RETRY, "The mesh model could not make a mesh of this.", "Out of memory: smaller settings in the step's input.*, or another version of the model.", 2, 0 },
    [FAULT_MODEL_ERROR]      = { "model_error", VERDICT_FINAL, "The mesh model failed on this input. Please change the prompt or the image.", "What the model said is in the journal and in meshify.predictions.error.", 0, 0 },
    [FAULT_MODEL_TIMEOUT]    = { "model_timeout", VERDICT_RETRY, "The mesh model took too long.", "Raise the step's timeout if the model needs longer.", 2, 0 },
    [FAULT_MODEL_CONTENT]    = { "model_content", VERDICT_FINAL, "The mesh model declined this content. Please change the prompt or the image.", "", 0, 0 },
    [FAULT_PREDICTION_GONE]  = { "prediction_gone", VERDICT_RETRY, "The mesh service lost the request. Please try again later.", "Somebody deleted the prediction, or [replicate] token is another account's by now.", 0, 0 },
    [FAULT_OUTPUT_MISSING]   = { "output_missing", VERDICT_FINAL, "The mesh model gave no mesh.", "Check the step's output pointer and inputs (trellis: generate_model = true).", 0, 0 },
    [FAULT_OUTPUT_GONE]      = { "output_gone", VERDICT_RETRY, "The mesh was no longer available when it was fetched.", "", 0, 0 },
    [FAULT_OUTPUT_FORBIDDEN] = { "output_forbidden", VERDICT_FINAL, "The mesh could not be fetched.", "Its host is not in [replicate] download_hosts.", 0, 0 },
    [FAULT_OUTPUT_UNREACHED] = { "output_unreached", VERDICT_WAIT, "The mesh could not be fetched at the moment.", "", 0, 0 },
    [FAULT_OUTPUT_DAMAGED]   = { "output_damaged", VERDICT_RETRY, "The mesh was damaged on its way.", "", 0, 0 },
    [FAULT_ASSET_TOO_LARGE]  = { "asset_too_large", VERDICT_FINAL, "The mesh is larger than we can keep.", "Raise [asset] max_size if it should be kept.", 0, 0 },
    [FAULT_ASSET_INVALID]    = { "asset_invalid", VERDICT_FINAL, "The mesh model's output is not a usable mesh.", "", 0, 0 },
    [FAULT_STORE_UNREACHED]  = { "store_unreached", VERDICT_WAIT, "The mesh could not be stored at the moment.", "Check [storage] url and the state of the project; with driver dir the directory, its owner and its free space.", 0, 0 },
    [FAULT_STORE_CLOSED]     = { "store_closed", VERDICT_WAIT, "The mesh could not be stored at the moment.", "Supabase has paused or restricted the project: see its dashboard.", 0, 0 },
    [FAULT_STORE_AUTH]       = { "store_auth", VERDICT_WAIT, "The mesh could not be stored at the moment.", "The storage key is refused: set [storage] key.", 0, 0 },
    [FAULT_STORE_BUCKET]     = { "store_bucket", VERDICT_WAIT, "The mesh could not be stored at the moment.", "Check that the bucket exists, [storage] bucket names it, and the key may see it.", 0, 0 },
    [FAULT_STORE_TYPE]       = { "store_type", VERDICT_WAIT, "The mesh could not be stored at the moment.", "Add model/gltf-binary to the bucket's allowed MIME types.", 0, 0 },
    [FAULT_STORE_REFUSED]    = { "store_refused", VERDICT_FINAL, "The mesh could not be stored.", "Check that [storage] path makes names that the store takes.", 0, 0 },
    [FAULT_STORE_TOO_LARGE]  = { "store_too_large", VERDICT_FINAL, "The mesh is larger than the store takes.", "Raise the bucket's file size limit.", 0, 0 },
    [FAULT_SPOOL_FULL]       = { "spool_full", VERDICT_WAIT, "The mesh could not be fetched at the moment.", "Make room in [worker] spool_dir.", 0, 0 },
    [FAULT_PURCHASE_UNKNOWN] = { "purchase_unknown", VERDICT_FINAL, "The mesh service did not say whether it took the request.", "Compare `meshifyctl show JOB` with the predictions at replicate.com.", 0, 0 },
    [FAULT_STEP_GONE]        = { "step_gone", VERDICT_RETRY, "The request could not be worked on.", "A step was renamed or removed while its prediction ran; it is canceled, and bought as the pipeline is now.", 0, 0 },
    [FAULT_TIMEOUT]          = { "timeout", VERDICT_FINAL, "The request took too long and was stopped.", "Raise [worker] job_timeout if jobs need longer.", 0, 0 },
    [FAULT_CRASHED]          = { "crashed", VERDICT_FINAL, "The request could not be worked on.", "Workers died while they worked on it: see the journal.", 0, 0 },
    [FAULT_DATABASE]         = { "database", VERDICT_RETRY, "The request could not be worked on.", "See the error of the database in the journal.", 0, 0 },
    [FAULT_DATABASE_BUSY]    = { "database_busy", VERDICT_WAIT, "The request could not be worked on at the moment.", "See the error of the database in the journal: a lock, a shortage, a missing GRANT.", 0, 0 },
    [FAULT_INTERNAL]         = { "internal", VERDICT_RETRY, "The request could not be worked on.", "See the journal.", 0, 0 },
};
/* clang-format on */

const FaultInfo *fault_info(FaultCode code) {
    return &infos[code];
}

/* A proxy that fails needs an advice of its own, whatever service was behind it. */
const char *fault_advice(const Fault *fault) {
    /* As io/http_route.c begins what it says of a proxy, and others' words do not. */
    return strstr(fault->detail, "no answer: the proxy ")
               ? "Check the proxy: https_proxy, http_proxy, all_proxy and no_proxy in the "
                 "environment (for the "
                 "units in /etc/default/meshifyd)."
               : fault_info(fault->code)->advice;
}

/* The detail is made of texts from outside: it is cleaned here, once, so that whoever logs it
 * need not. */
int fault_set(Fault *reterr, FaultCode code, const char *detail, ...) {
    char text[2048]; /* more than is kept: what is to be left out must be there whole */
    va_list ap;

    *reterr = (Fault){ .code = code };
    va_start(ap, detail);
    (void) vsnprintf(text, sizeof text, detail, ap);
    va_end(ap);
    str_clean(reterr->detail, sizeof reterr->detail, text);
    /* Others' sentences end in a stop, to which ours would add one. */
    for (size_t n = strlen(reterr->detail); n > 0 && strchr(". ", reterr->detail[n - 1]); n--)
        reterr->detail[n - 1] = '\0';
    return -EBADMSG;
}
