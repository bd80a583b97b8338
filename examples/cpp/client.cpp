// Sends one inference and what became known about it to a Davy gateway.
//
//   g++ -std=c++17 -O2 client.cpp -lcurl -o client
//   ./client http://127.0.0.1:8321 [KEY]

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include <curl/curl.h>

namespace {

struct Answer {
    long status = 0;
    curl_off_t retry_after = 0;
    std::string body;
};

size_t keep(char* data, size_t size, size_t count, void* into) {
    static_cast<std::string*>(into)->append(data, size * count);
    return size * count;
}

// One connection, kept open; used by one thread.
class Davy {
public:
    Davy(std::string url, const std::string& key) : url_(std::move(url)), curl_(curl_easy_init(), curl_easy_cleanup) {
        if (!curl_) throw std::runtime_error("libcurl cannot start");
        headers_.reset(curl_slist_append(nullptr, "Content-Type: application/json"));
        if (!key.empty()) curl_slist_append(headers_.get(), ("Authorization: Bearer " + key).c_str());
    }

    // Posts JSON. An answer of 429 or 503 says when to try again; with an id of its own in the body an inference
    // that is sent twice is stored once.
    Answer post(const std::string& path, const std::string& json, int attempts = 5) {
        Answer answer = once(path, json);
        while (--attempts > 0 && (answer.status == 429 || answer.status == 503)) {
            std::this_thread::sleep_for(std::chrono::seconds(answer.retry_after > 0 ? answer.retry_after : 1));
            answer = once(path, json);
        }
        return answer;
    }

private:
    Answer once(const std::string& path, const std::string& json) {
        Answer answer;
        const std::string address = url_ + path;
        CURL* curl = curl_.get();
        curl_easy_setopt(curl, CURLOPT_URL, address.c_str());
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers_.get());
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json.c_str());
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(json.size()));
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer.body);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 10000L);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        const CURLcode code = curl_easy_perform(curl);
        if (code != CURLE_OK) throw std::runtime_error(curl_easy_strerror(code));
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
        curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &answer.retry_after);
        return answer;
    }

    struct FreeList {
        void operator()(curl_slist* list) const { curl_slist_free_all(list); }
    };

    std::string url_;
    std::unique_ptr<CURL, void (*)(CURL*)> curl_;
    std::unique_ptr<curl_slist, FreeList> headers_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "usage: client http://host:port [KEY]\n";
        return EXIT_FAILURE;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    try {
        Davy davy(argv[1], argc > 2 ? argv[2] : "");
        const std::string id = "0123456789abcdef0123456789abcdef";  // 16 bytes of your own choice, in hexadecimal
        const Answer sent = davy.post("/v1/inferences",
            R"({"model": "fraud:3", "id": ")" + id + R"(", "inputs": {"amount": 12.5, "country": "NZ"},)"
            R"( "outputs": {"probs": [0.9, 0.1]}})");
        std::cout << sent.status << ' ' << sent.body << '\n';
        const Answer told = davy.post("/v1/feedback",
            R"({"model": "fraud:3", "id": ")" + id + R"(", "truth": "fraud"})");
        std::cout << told.status << ' ' << told.body << '\n';
        return sent.status == 202 && told.status == 202 ? EXIT_SUCCESS : EXIT_FAILURE;
    } catch (const std::exception& error) {
        std::cerr << "client: " << error.what() << '\n';
        return EXIT_FAILURE;
    }
}
